"""`eurosky migrations export`: all that is known of many migrations, as a table for other programs. No secrets."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.migrations_wanted import wanted_of, wanted_options
from eurosky_pipeline.cli.output import json_option, moment, print_json, tell
from eurosky_pipeline.cli.spool import JsonArray

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@click.command("export")
@wanted_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl"]),
    help="csv, or JSON Lines; default: by --output's suffix.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, whole or not at all; readable by its owner alone. Default: stdout.",
)
@json_option
def export(limit: int | None, format_: str | None, output: Path | None, *, is_json: bool, **wanted: Any) -> None:
    """Every migration with its state, hosts, times, counts and error code; never a password.

    `eurosky migrations import` reads it back: passwords have to be given anew, and what only tells is left unread.
    With --json and no --output, stdout is one JSON array.
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    if is_json and format_ and output is None:
        raise click.UsageError("--json prints a JSON array; give --output to write another format beside it")
    chosen = wanted_of(**wanted)
    is_lines = format_ == "jsonl" or (format_ is None and output is not None and output.suffix in {".jsonl", ".ndjson"})
    write = _write_lines if is_lines else _write_csv
    with closing(open_registry(load_settings())) as registry:
        rows = (exported_row(migration) for migration in registry.each(chosen, limit))
        if output is not None:
            with _replacing(output) as file:
                count = write(file, rows)
        elif is_json:
            with JsonArray() as array:
                for values in rows:
                    array.add(values)
                array.print()
            return
        else:
            count = write(sys.stdout, rows)
    if is_json:
        print_json({"path": str(output), "migrations": count})
    else:
        tell(f"{count:,} migrations{f' in {click.format_filename(output)}' if output else ''}")


def exported_row(migration: Migration) -> dict[str, Any]:
    """One migration by the columns of an export: first what an import reads, then what it leaves unread."""
    progress = migration.progress_data
    failed = progress.get("failed_blobs")
    return {
        "did": migration.did,
        "handle": migration.handle,
        "source_pds": migration.source_pds,
        "destination_pds": migration.destination_pds,
        "convert_legacy_blobs": migration.convert_legacy_blobs,
        "allow_active_destination": migration.is_active_destination_allowed,
        "token": migration.token,
        "state": str(migration.state),
        "resume_at": moment(migration.resume_at),
        "attempts": migration.attempts,
        "blobs_total": progress.get("blobs_total"),
        "blobs_completed": progress.get("blobs_completed"),
        "blobs_failed": len(failed) if isinstance(failed, list) else None,
        "bytes_transferred": progress.get("bytes_transferred"),
        "reconciliation_status": progress.get("reconciliation_status"),
        "error_code": migration.error_code,
        "created_at": moment(migration.created_at),
        "updated_at": moment(migration.updated_at),
    }


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _write_csv(file: IO[str], rows: Iterable[dict[str, Any]]) -> int:
    from eurosky_pipeline.intake.rows import COLUMNS, TOLD_ONLY

    names = [name for name in (*COLUMNS, *TOLD_ONLY) if "password" not in name]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    return _each(rows, lambda values: writer.writerow({name: harmless(values[name]) for name in names}))


def _write_lines(file: IO[str], rows: Iterable[dict[str, Any]]) -> int:
    return _each(rows, lambda values: file.write(json.dumps(values, ensure_ascii=False) + "\n"))


def _each(rows: Iterable[dict[str, Any]], write: Callable[[dict[str, Any]], object]) -> int:
    count = 0
    for values in rows:
        write(values)
        count += 1
    return count


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A file that takes the other's place once it is whole; it names people, and is for its owner alone."""
    descriptor, partial = tempfile.mkstemp(
        dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".partial"
    )  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
