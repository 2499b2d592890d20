"""The protocol core beside a plain baseline and beside its peers: `make bench`, or `python -m benchmarks.core --help`.

Each reader runs in a process of its own, all of them in turn and that several times over, so that a noisy minute
hits all alike. The best round counts. CPU seconds are the work alone, without start and imports; memory is the
process's largest resident set, with all that it loaded. Ratios are to the baseline of the same run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.damages import count_accepted
from benchmarks.document import replace_table, tell
from benchmarks.repository import write_repository
from eurosky_pipeline.sandbox.node import node_binary
from eurosky_pipeline.sandbox.packages import ensure_packages

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Row:
    """A reader in the table. `target` is the greatest ratio and the most MiB that it may come to."""

    name: str
    title: str
    checks: str
    target: tuple[float, int] | None = None


ROWS = (
    Row("hashlib_alone", "SHA-256 alone", "nothing; the blocks are cut beforehand"),
    Row("baseline", "**baseline**: split and hash", "nothing"),
    Row("stream", "`CarReader`", "framing, each block's hash", (1.5, 40)),
    Row("verify", "`car verify`", "framing, hashes, commit, tree's one form, records' one encoding", (12, 70)),
    Row("inspect", "`car inspect`", "the same, and every blob reference is found"),
    Row("libipld", "libipld `decode_car`", "decodes every block; no hash, no tree"),
    Row("cbrrr", "cbrrr, split by the baseline", "hashes, records' one encoding; no framing, no tree"),
    Row("atmst", "atmst, with cbrrr", "hashes of what is reached, records' one encoding; part of the tree's form"),
    Row("atproto_repo", "`@atproto/repo` on Node", "hashes, commit; part of the tree's form and of the encoding"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The best of the rounds: `cpu_s` seconds, `peak_mib` MiB."""

    cpu_s: float
    peak_mib: float
    found: int


def main() -> None:
    """Measure, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()

    packages = ensure_packages(tell)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "account.car"
        tell(f"writing a repository of {options.records:,} records")
        write_repository(file, options.records)
        commands = {row.name: _command(row.name, file, packages) for row in ROWS}
        measured = _measure(commands, options.rounds)
        accepted, damages = count_accepted(Path(folder), packages)
        size_mb = file.stat().st_size / 1e6
    table = "\n".join(
        [
            f"{options.records:,} records, {measured['stream'].found:,} blocks, {size_mb:.1f} MB; "
            f"best of {options.rounds} rounds; Python {sys.version.split()[0]}.",
            "",
            *_table(measured, accepted, damages),
        ]
    )
    print(table)
    if options.write:
        replace_table(options.write, "core", table)
    missed = [row.title for row in ROWS if row.target and not _is_met(row, measured)]
    if missed:
        sys.exit(f"beyond the target: {', '.join(missed)}")


def _command(name: str, file: Path, packages: Path) -> list[str]:
    if name == "atproto_repo":
        return [str(node_binary()), str(_HERE / "atproto_repo.mjs"), str(packages), str(file)]
    return [sys.executable, "-m", "benchmarks.readers", name, str(file)]


def _measure(commands: dict[str, list[str]], rounds: int) -> dict[str, Measured]:
    best: dict[str, Measured] = {}
    for number in range(rounds):
        for name, command in commands.items():
            tell(f"round {number + 1} of {rounds}: {name}")
            now = _run(command)
            known = best.get(name, now)
            best[name] = Measured(min(now.cpu_s, known.cpu_s), min(now.peak_mib, known.peak_mib), now.found)
    return best


def _run(command: Sequence[str]) -> Measured:
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=_HERE.parent, check=True)
    return Measured(**json.loads(done.stdout))


def _table(measured: dict[str, Measured], accepted: dict[str, int], damages: int) -> Iterable[str]:
    yield "| what | CPU s | × baseline | peak MiB | target | what it checks | damaged files that it accepts |"
    yield "|---|---:|---:|---:|---|---|---:|"
    for row in ROWS:
        found = measured[row.name]
        ratio = found.cpu_s / measured["baseline"].cpu_s
        target = f"≤ {row.target[0]:g} ×, ≤ {row.target[1]} MiB" if row.target else ""
        let_pass = f"{accepted[row.name]} of {damages}" if row.name in accepted else ""
        yield (
            f"| {row.title} | {found.cpu_s:.2f} | {ratio:.2f} | {found.peak_mib:.0f} | {target} "
            f"| {row.checks} | {let_pass} |"
        )


def _is_met(row: Row, measured: dict[str, Measured]) -> bool:
    found = measured[row.name]
    assert row.target is not None
    return found.cpu_s <= row.target[0] * measured["baseline"].cpu_s and found.peak_mib <= row.target[1]


if __name__ == "__main__":
    main()
