"""Many accounts from a list to their reports, while a run's worker is killed and the database, or `eurosky up`, begins
anew: `python -m benchmarks.bulk_run --help`.

What has to hold is checked to the last blob, at both servers; the figures are of a run for which it held.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.document import replace_table, tell
from eurosky_pipeline.sandbox.network import down, up
from eurosky_pipeline_tests.bulk import BLOBS, RECORDS, Bulk, Figures, run_bulk
from eurosky_pipeline_tests.postgres import running_postgres


def main() -> None:
    """Move them, on both databases, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--migrations", type=int, default=50, metavar="N", help="accounts on each database; at least 12"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()

    table = "\n".join(
        [
            f"{options.migrations} accounts of {RECORDS} records and {BLOBS} blobs on each database; Python "
            f"{sys.version.split()[0]}, {os.cpu_count()} processors, which the two PDSes share.",
            "",
            *_table(list(_move(options.migrations, options.database))),
        ]
    )
    print(table)
    if options.write:
        replace_table(options.write, "bulk_run", table)


def _move(count: int, database: str) -> Iterator[Figures]:
    with tempfile.TemporaryDirectory(prefix="eurosky-bulk-") as folder:
        sandbox = Path(folder) / "sandbox"
        sandbox.mkdir()
        try:
            state = up(sandbox, report=tell)
            if database != "postgresql":
                yield run_bulk(Bulk(_home(folder, "sqlite"), state, count), tell, timeout_s=1800)
            if database != "sqlite":
                with running_postgres() as server:
                    bulk = Bulk(_home(folder, "postgresql"), state, count, server, server.create())
                    yield run_bulk(bulk, tell, timeout_s=1800)
        finally:
            down(sandbox, report=tell)


def _home(folder: str, name: str) -> Path:
    home = Path(folder) / name
    home.mkdir()
    return home


def _table(figures: Sequence[Figures]) -> Iterator[str]:
    columns = ("database", "meanwhile", "wall", "a migration", "CPU of `eurosky up`", "a migration", "runs", "attempts")
    yield f"| {' | '.join((*columns, 'taken up again'))} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for each in figures:
        away = "the server away for 5 s" if each.database == "PostgreSQL" else "`eurosky up` begun anew"
        yield (
            f"| {each.database} | a worker killed, {away} | "
            f"{each.wall_s:.0f} s | {each.wall_s / each.migrations:.1f} s | "
            f"{each.cpu_s:.0f} s | {each.cpu_s / each.migrations:.1f} s | {each.runs} | {each.attempts} | "
            f"after {each.retaken_s:.0f} s |"
        )


if __name__ == "__main__":
    main()
