"""`eurosky migrations list`: what is there, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.migrations_rows import row
from eurosky_pipeline.cli.migrations_wanted import wanted_of, wanted_options
from eurosky_pipeline.cli.output import json_option, moment, print_table, tell
from eurosky_pipeline.cli.spool import JsonArray

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration

_HEADER = ["token", "account", "state", "blobs", "source", "destination"]
_TABLE_ROWS = 200
"""A table knows its columns' widths when it has all its rows: a longer list is several tables."""


@click.command("list")
@wanted_options
@json_option
def list_(limit: int | None, *, is_json: bool, **wanted: Any) -> None:
    """Every migration, oldest first, or those that the options leave.

    \b
    What failed:                       eurosky migrations list --state failed
    To one server, in the last day:    eurosky migrations list --host https://new.example --newer-than 1d
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    chosen = wanted_of(**wanted)
    with closing(open_registry(load_settings())) as registry:
        found = registry.each(chosen, limit)
        if is_json:
            with JsonArray() as rows:
                for migration in found:
                    rows.add(row(migration))
                rows.print()
            return
        count = _print_tables(found)
    if count:
        return
    if not any(wanted.values()):
        tell("no migration; `eurosky migrations add` registers one, `eurosky migrations import` a list of them")
    elif wanted["states"] and len([value for value in wanted.values() if value]) == 1:
        tell(f"no migration is {' or '.join(wanted['states'])}")
    else:
        tell("no migration is like that")


def _print_tables(found: Iterator[Migration]) -> int:
    count = 0
    while rows := [_cells(migration) for migration in islice(found, _TABLE_ROWS)]:
        print_table(_HEADER, rows)
        count += len(rows)
    return count


def _cells(migration: Migration) -> tuple[object, ...]:
    progress = migration.progress_data
    blobs = f"{progress.get('blobs_completed', 0)}/{progress['blobs_total']}" if "blobs_total" in progress else ""
    return (
        migration.token,
        migration.handle or migration.did,
        f"{migration.state} until {moment(migration.resume_at)}" if migration.resume_at else migration.state,
        blobs,
        migration.source_pds,
        migration.destination_pds,
    )
