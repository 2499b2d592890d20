"""`eurosky migrations show`: all that is known of one migration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from eurosky_pipeline.cli.migrations_rows import report_of, row
from eurosky_pipeline.cli.output import json_option, json_text, moment, print_pairs, print_table
from eurosky_pipeline.cli.spool import JsonArray
from eurosky_pipeline.words import human_bytes, human_duration, one_line

if TYPE_CHECKING:
    from eurosky_pipeline.registry.attempts import Attempt
    from eurosky_pipeline.registry.migration import Migration
    from eurosky_pipeline.registry.registry import Registry

BLOBS_SHOWN: Final = 20
_PAGE_ROWS: Final = 200
_LONGEST_REASON: Final = 300


@click.command()
@click.argument("token")
@click.option("--all-blobs", is_flag=True, help=f"Every blob that is not there, and not the first {BLOBS_SHOWN} alone.")
@json_option
def show(token: str, *, all_blobs: bool, is_json: bool) -> None:
    """One migration: where it stands, its progress, what went wrong, its attempts, and the blobs that did not arrive.

    The reconciliation's report, a CSV file, has a verdict on every blob; its place is told here.
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    with closing(open_registry(settings)) as registry:
        migration, history = registry.get(token), registry.attempts_of(token)
        report = report_of(settings, migration)
        blobs = islice(_not_transferred(registry, migration), None if all_blobs else BLOBS_SHOWN)
        if is_json:
            _print_json(migration, history, report, blobs)
        else:
            _print_sections(migration, history, report, blobs)


def _print_json(
    migration: Migration, history: list[Attempt], report: str | None, blobs: Iterator[dict[str, Any]]
) -> None:
    has_error = migration.error_code is not None
    value = row(migration) | {
        "stopped_in": migration.stopped_in,
        "attempts": migration.attempts,
        "history": [_attempt(attempt) for attempt in history],
        "convert_legacy_blobs": migration.convert_legacy_blobs,
        "error": {"code": migration.error_code, "text": migration.error_text} if has_error else None,
        "lease": {"holder": migration.lease_holder, "expires_at": moment(migration.lease_expires_at)}
        if _is_held(migration)
        else None,
        "cancel_requested_at": moment(migration.cancel_requested_at),
        "purged_at": moment(migration.purged_at),
        "report": report,
        "progress_data": migration.progress_data,
        "blobs_not_transferred_count": len(_failed_blobs(migration)),
    }
    with JsonArray() as array:
        for blob in blobs:
            array.add(blob)
        array.print(f'{json_text(value)[:-1]}, "blobs_not_transferred": ', "}")


def _print_sections(
    migration: Migration, history: list[Attempt], report: str | None, blobs: Iterator[dict[str, Any]]
) -> None:
    _section(migration.token, [*_where(migration), ("report", report)])
    if migration.error_code is not None:
        _section(
            f"why it {_STOPPED_WORDS.get(str(migration.state), 'stopped before')}",
            [("code", migration.error_code), ("text", one_line(migration.error_text or "", 2_000))],
        )
    progress = {name: value for name, value in migration.progress_data.items() if name != "failed_blobs"}
    if progress:
        _section("progress", list(progress.items()))
    if history:
        click.echo("\nattempts")
        print_table(
            ["", "run", "began", "took", "ended in", "because"],
            [_attempt_cells(each, is_held=_is_held(migration)) for each in history],
        )
    _print_blobs(blobs, len(_failed_blobs(migration)))


_STOPPED_WORDS = {"failed": "failed", "waiting": "waits"}


def _section(title: str, pairs: list[tuple[str, object]]) -> None:
    print_pairs(title, [(name, value) for name, value in pairs if value is not None])


def _where(migration: Migration) -> list[tuple[str, object]]:
    is_waiting = migration.resume_at is not None
    state = f"{migration.state} until {moment(migration.resume_at)}" if is_waiting else str(migration.state)
    hold = f"run {migration.lease_holder}, until {moment(migration.lease_expires_at)} unless it goes on"
    return [
        ("state", state),
        ("goes on in", migration.stopped_in),
        ("worked on by", hold if _is_held(migration) else None),
        ("to be cancelled", _since(migration.cancel_requested_at)),
        ("did", migration.did),
        ("handle", migration.handle),
        ("source", migration.source_pds),
        ("destination", migration.destination_pds),
        ("registered", moment(migration.created_at)),
        ("changed", moment(migration.updated_at)),
        ("attempts", migration.attempts),
        ("convert legacy blobs", migration.convert_legacy_blobs),
        ("purged", moment(migration.purged_at)),
    ]


def _since(value: datetime | None) -> str | None:
    return None if value is None else f"asked for at {moment(value)}; the run that works on it ends first"


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "run": attempt.holder,
        "started_at": moment(attempt.started_at),
        "started_in": attempt.started_in,
        "ended_at": moment(attempt.ended_at),
        "ended_in": attempt.ended_in,
        "error": {"code": attempt.error_code, "text": attempt.error_text} if attempt.error_code else None,
    }


def _attempt_cells(attempt: Attempt, *, is_held: bool) -> tuple[object, ...]:
    if attempt.ended_at is not None:
        took = human_duration((attempt.ended_at - attempt.started_at).total_seconds())
    else:
        took = "under way" if is_held else "its run has died"
    because = (
        f"{one_line(attempt.error_text or '', _LONGEST_REASON)} [{attempt.error_code}]" if attempt.error_code else ""
    )
    return attempt.number, attempt.holder, moment(attempt.started_at), took, attempt.ended_in or "", because


def _print_blobs(blobs: Iterator[dict[str, Any]], count: int) -> None:
    """A table knows its columns' widths when it has all its rows: a long list is several tables."""
    shown = 0
    while page := list(islice(blobs, _PAGE_ROWS)):
        if not shown:
            click.echo(f"\nblobs that are not at the destination: {count:,}")
        shown += len(page)
        rows = [
            (each["blob_cid"], each["outcome"], _size(each), one_line(each["error"], _LONGEST_REASON)) for each in page
        ]
        print_table(["blob", "outcome", "size", "reason"], rows)
    if 0 < shown < count:
        click.echo(f"{count - shown:,} more: --all-blobs shows them")


def _size(blob: dict[str, Any]) -> str:
    return human_bytes(blob["size_bytes"]) if blob["size_bytes"] else ""


def _not_transferred(registry: Registry, migration: Migration) -> Iterator[dict[str, Any]]:
    """What the ledger knows of each blob that is not there, some hundred at a time."""
    from eurosky_pipeline.analytics.absent import MISSING, REASONS, UNKNOWN

    cids = _failed_blobs(migration)
    for start in range(0, len(cids), _PAGE_ROWS):
        page = cids[start : start + _PAGE_ROWS]
        known = registry.outcomes_of(migration.token, page)
        for cid in page:
            found = known.get(cid)
            if found is None:
                yield _blob(cid, UNKNOWN, error=REASONS[UNKNOWN])
            elif found.is_there:
                yield _blob(cid, MISSING, found.size_bytes, found.attempts, error=REASONS[MISSING])
            else:
                yield _blob(
                    cid, str(found.outcome), found.size_bytes, found.attempts, found.error_code, found.error_text
                )


def _blob(
    cid: str, outcome: str, size_bytes: int = 0, attempts: int = 0, error_code: str = "", error: str = ""
) -> dict[str, Any]:
    return {
        "blob_cid": cid,
        "outcome": outcome,
        "size_bytes": size_bytes or None,
        "attempts": attempts,
        "error_code": error_code,
        "error": error,
    }


def _failed_blobs(migration: Migration) -> list[str]:
    return list(migration.progress_data.get("failed_blobs", []))


def _is_held(migration: Migration) -> bool:
    from eurosky_pipeline.registry.cancellation import is_held

    return is_held(migration, datetime.now(UTC))
