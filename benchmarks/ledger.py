"""A long ledger, read by pandas and by the commands that tell of it, on both databases: `make bench`, or
`python -m benchmarks.ledger --help`.

One migration has all the rows, a twentieth of them of blobs that did not arrive. Every reading is a process of its own,
measured whole; what the same takes of a ledger of one row is its start: those seconds are subtracted, and memory is
told above that.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.databases import each_database
from benchmarks.document import replace_table, tell
from benchmarks.measuring import EUROSKY, Line, launch
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.settings import load_settings

_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
_PAGE_ROWS = 10_000
_LOST_EACH = 20
_CHUNKS = "import sys; from eurosky_pipeline import analytics as a; print(sum(map(len, a.blob_chunks(sys.argv[1]))))"
_THREE_COLUMNS = (
    "import sys; from eurosky_pipeline import analytics as a; "
    "print(len(a.blobs(sys.argv[1], columns=['outcome', 'size_bytes', 'ended_at'])))"
)
_LOST = (
    "import sys; from eurosky_pipeline import analytics as a; from eurosky_pipeline.registry.ledger import Outcome; "
    "print(len(a.blobs(sys.argv[1], outcomes=[Outcome.MISSING_AT_SOURCE], columns=['blob_cid'])))"
)
READINGS = {
    "`blob_chunks`, every column": ([sys.executable, "-c", _CHUNKS], 300),
    "`blobs`, three columns": ([sys.executable, "-c", _THREE_COLUMNS], 300),
    "`blobs`, those that were lost": ([sys.executable, "-c", _LOST], 100),
    "`eurosky report --json`": ([EUROSKY, "report", "--json"], 400),
    "`eurosky stats --json`": ([EUROSKY, "stats", "--json"], 100),
}
"""The command, to which the migration's token is added (but for `stats`), and the most memory above its start, in 10⁶
bytes: the frame of every column and row at once takes half a gigabyte."""


def main() -> None:
    """Measure, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = [line for name in each_database(Path(folder)) for line in _measure(name, options.rows)]
    head = f"A ledger of {options.rows:,} rows; Python {sys.version.split()[0]}, {os.cpu_count()} processors."
    table = "\n".join([head, "", *_table(lines, options.rows)])
    print(table)
    if options.write:
        replace_table(options.write, "ledger", table)


def write_ledger(token_of: str, rows: int) -> str:
    """The token of a new migration with so many rows in its ledger: one a second, every twentieth blob lost."""
    registry = open_registry(load_settings())
    token = registry.add(NewMigration(token_of, "https://old.example", "https://new.example"), {}).token
    for start in range(0, rows, _PAGE_ROWS):
        page = [_outcome(number) for number in range(start, min(start + _PAGE_ROWS, rows))]
        registry.record(token, {"blobs_total": rows, "blobs_completed": start + len(page)}, page)
    registry.close()
    return token


def _outcome(number: int) -> BlobOutcome:
    is_lost = number % _LOST_EACH == _LOST_EACH - 1
    started_at = _BEGAN + timedelta(seconds=number)
    return BlobOutcome(
        cid_of(number.to_bytes(8, "big"), CODEC_RAW),
        Outcome.MISSING_AT_SOURCE if is_lost else Outcome.TRANSFERRED,
        size_bytes=0 if is_lost else 50_000 + number % 100_000,
        mime_type="image/jpeg",
        attempts=1 if is_lost else 2,
        error_class="permanent" if is_lost else "",
        error_code="missing_at_source" if is_lost else "",
        error_text="old.example answered 400 (Blob not found)" if is_lost else "",
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=3),
    )


def _measure(database: str, rows: int) -> Iterator[Line]:
    one = write_ledger("did:plc:" + "a" * 24, 1)
    idle = {name: launch(_words(name, one)) for name in READINGS}
    tell(f"{database}: writing {rows:,} rows")
    many = write_ledger("did:plc:" + "b" * 24, rows)
    for name in READINGS:
        taken = launch(_words(name, many))
        tell(f"{database}: {name} {taken.wall_s:.1f} s with its start, {taken.peak_mb:.0f} MB")
        yield _checked(Line(database, name, taken, idle[name]), rows)


def _words(reading: str, token: str) -> list[object]:
    words, _ = READINGS[reading]
    return [*words, *([] if "stats" in words else [token])]


def _checked(line: Line, rows: int) -> Line:
    """Raises RuntimeError if a reading did not find what there is."""
    lost = rows // _LOST_EACH
    result = line.taken.result
    if isinstance(result, dict):
        found = sum(row["blobs"] for row in result["failures"])
        wanted = lost
    else:
        found, wanted = result, lost if "lost" in line.what else rows
    if found != wanted:
        raise RuntimeError(f"{line.database}: {line.what} came to {found}, and not to {wanted}")
    return line


def _table(lines: list[Line], rows: int) -> Iterator[str]:
    yield "| database | reading | seconds | CPU seconds | rows/s | memory above its start | must |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for line in lines:
        most_mb = READINGS[line.what][1]
        verdict = "" if line.above_mb <= most_mb else " (not met)"
        pace = f"{rows / line.wall_s:,.0f}" if line.wall_s >= 0.1 else "–"  # no longer than its start
        yield (
            f"| {line.database} | {line.what} | {line.wall_s:.1f} | {line.cpu_s:.1f} | "
            f"{pace} | {line.above_mb:.0f} MB | ≤ {most_mb} MB{verdict} |"
        )


if __name__ == "__main__":
    main()
