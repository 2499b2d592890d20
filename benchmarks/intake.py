"""A long list handed in twice, on both databases: `make bench`, or `python -m benchmarks.intake --help`.

Each command is a process of its own, measured whole, as an operator would start it. What it takes for an empty list is
its start: those seconds are subtracted, and memory is told above that.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.databases import each_database
from benchmarks.document import replace_table, tell
from benchmarks.measuring import EUROSKY, Line, launch

_HEADER = "did,handle,source_pds,destination_pds,destination_password"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_MOST_MB = 40


def main() -> None:
    """Measure, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        accounts, nobody = Path(folder) / "accounts.csv", Path(folder) / "nobody.csv"
        write_list(accounts, options.rows)
        write_list(nobody, 0)
        size_mb = accounts.stat().st_size / 1e6
        lines = [line for name in each_database(Path(folder)) for line in _measure(name, accounts, nobody)]
    for line in lines:
        _check(line, options.rows)
    table = "\n".join(
        [
            f"A list of {options.rows:,} accounts ({size_mb:.1f} MB); Python {sys.version.split()[0]}, "
            f"{os.cpu_count()} processors.",
            "",
            *_table(lines, options.rows),
        ]
    )
    print(table)
    if options.write:
        replace_table(options.write, "intake", table)


def write_list(file: Path, rows: int) -> None:
    """A list in CSV, the same each time: a DID, a handle and a password for each account, of seven servers."""
    chance = random.Random(6)
    with file.open("w") as stream:
        stream.write(f"{_HEADER}\n")
        for number in range(rows):
            did = "did:plc:" + "".join(chance.choices(_ALPHABET, k=24))
            stream.write(
                f"{did},user{number}.example.com,https://pds{number % 7}.old.example,https://new.example,"
                f"{chance.getrandbits(64):016x}\n"
            )


def _measure(database: str, accounts: Path, nobody: Path) -> Iterator[Line]:
    importing = [EUROSKY, "migrations", "import", "--json"]
    launch([*importing, nobody])  # makes the schema
    idle = launch([*importing, nobody])
    commands = {
        "`import`": [*importing, accounts],
        "`import` again": [*importing, accounts],
        "`import --dry-run`": [*importing, "--dry-run", accounts],
        "`list --json`": [EUROSKY, "migrations", "list", "--json"],
        "`export --output`": [EUROSKY, "migrations", "export", "--output", accounts.with_suffix(".exported"), "--json"],
    }
    for name, words in commands.items():
        taken = launch(words)
        tell(f"{database}: {name} {taken.wall_s:.1f} s with its start, {taken.peak_mb:.0f} MB")
        yield Line(database, name, taken, idle)


def _check(line: Line, rows: int) -> None:
    """Raises RuntimeError if a command did not do what it was measured for."""
    result = line.taken.result
    told = {"added": 0, "unchanged": rows, "rejected": []} if "import" in line.what else rows
    if line.what == "`import`":
        told = {"added": rows, "unchanged": 0, "rejected": []}
    found = len(result) if isinstance(result, list) else result.get("migrations", result)
    if found != told:
        raise RuntimeError(f"{line.database}: {line.what} came to something else than {told}")


def _table(lines: list[Line], rows: int) -> Iterator[str]:
    yield "| database | command | seconds | CPU seconds | rows/s | memory above idle | must |"
    yield "|---|---|---|---|---|---|---|"
    for line in lines:
        verdict = "" if line.above_mb <= _MOST_MB else " (not met)"
        yield (
            f"| {line.database} | {line.what} | {line.wall_s:.1f} | {line.cpu_s:.1f} | "
            f"{rows / max(line.wall_s, 0.01):,.0f} | {line.above_mb:.1f} MB | ≤ {_MOST_MB} MB{verdict} |"
        )


if __name__ == "__main__":
    main()
