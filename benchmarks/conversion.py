"""`eurosky car convert` beside a plain baseline and a full rebuild: `python -m benchmarks.conversion --help`.

Commands take turns, several times over, and the best round of each counts. CPU seconds are those of the whole process,
less its start; memory is its largest resident set, with all that it loaded, in 10⁶ bytes. Ratios are within the run.

The results are checked before their speed is told: the rebuild must come to the same root and the same counts, the
file must verify, and a conversion of nothing must give the same bytes.
"""

import argparse
import filecmp
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.demands import Demand, missed, told
from benchmarks.document import replace_table, tell
from benchmarks.measuring import EUROSKY, Measurements, Repository, launch
from benchmarks.size_fetch import fetch_wall_s

_FETCHED_BLOBS, _ANSWER_S, _FETCH_S = 50, 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, its numbers written out."""

    title: str
    cpu_s: str
    ratio: str
    peak_mb: str
    demands: tuple[Demand, ...] = ()


def main() -> None:
    """Measure, check, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=10, help="how many times as large the large one is; 1: none")
    parser.add_argument("--rounds", type=int, default=5, help="the large one has half of them")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        rows = list(_rows(Path(folder), options.records, options.times, options.rounds))
    python = sys.version.split()[0]
    table = "\n".join([f"Best of {options.rounds} rounds; Python {python}.", "", *_table(rows)])
    print(table)
    if options.write:
        replace_table(options.write, "conversion", table)
    failures = [f"{row.title}: {demand.text}" for row in rows for demand in missed(row.demands)]
    if failures:
        sys.exit("not met: " + "; ".join(failures))


def _rows(folder: Path, records: int, times: int, rounds: int) -> Iterable[Row]:
    legacy = Repository(folder / "legacy.car", records)
    grown = Repository(folder / "grown.car", records, imported_share=0.0)
    modern = Repository(folder / "modern.car", records, legacy_share=0.0)
    large = Repository(folder / "large.car", records * times)
    measured = Measurements(folder)
    for repository in (legacy, grown, modern):
        _write(repository)
    measured.run(("baseline", "convert"), (legacy, grown, modern), rounds)
    measured.run(("rebuild",), (legacy,), max(1, rounds // 2))
    measured.run(("rebuild",), (grown, modern), 1)
    for repository in (legacy, grown, modern):
        _check(measured, repository)
    of_legacy, ratio, peak_mb = f"{records:,} records", _ratio(measured, legacy), measured.of("convert", legacy).peak_mb

    yield _row("baseline", f"**baseline**, {of_legacy}: split and hash", measured, legacy)
    yield _row(
        "convert", f"`car convert`, {of_legacy}, none of them legacy", measured, modern,
        Demand("≤ 2 ×", _ratio(measured, modern) <= 2),
    )  # fmt: skip
    yield _row(
        "convert", f"`car convert`, {of_legacy}, {_changes(measured, legacy)}", measured, legacy,
        Demand("≤ 7 ×", ratio <= 7), Demand("≤ 60 MB", peak_mb <= 60),
        Demand("≤ 4 ×", ratio <= 4, is_aim=True), Demand("≤ 45 MB", peak_mb <= 45, is_aim=True),
    )  # fmt: skip
    yield _row("convert", "the same, each record written in a revision of its own", measured, grown)
    yield _row("rebuild", f"decode and rebuild all, {of_legacy}", measured, legacy, *_advantage(measured, legacy))
    if times > 1:
        yield from _large_rows(measured, legacy, large, max(1, rounds // 2))
    wall_s = min(fetch_wall_s(_FETCHED_BLOBS, answer_s=_ANSWER_S) for _ in range(rounds))
    title = f"the sizes of {_FETCHED_BLOBS} blobs, each asked for and told after {_ANSWER_S * 1000:.0f} ms"
    is_fast = wall_s <= _FETCH_S
    yield Row(title, "", "", "", (Demand(f"≤ {_FETCH_S:g} s on the clock: {wall_s:.2f} s", is_fast),))


def _large_rows(measured: Measurements, small: Repository, large: Repository, rounds: int) -> Iterable[Row]:
    _write(large)
    measured.run(("baseline", "convert"), (large,), rounds)
    measured.run(("rebuild",), (large,), 1)
    _check(measured, large)
    of_large, convert = f"{large.records:,} records", measured.of("convert", large)
    growth, size_mb = convert.cpu_s / measured.of("convert", small).cpu_s, large.file.stat().st_size / 1e6
    yield _row(
        "convert", f"`car convert`, {of_large} ({size_mb:.0f} MB), {_changes(measured, large)}", measured, large,
        Demand(f"≤ 12 × the time of {small.records:,}: {growth:.1f} ×", growth <= 12),
        Demand("≤ 250 MB", convert.peak_mb <= 250), Demand("≤ 170 MB", convert.peak_mb <= 170, is_aim=True),
    )  # fmt: skip
    yield _row("rebuild", f"decode and rebuild all, {of_large}", measured, large, *_advantage(measured, large))


def _row(command: str, title: str, measured: Measurements, repository: Repository, *demands: Demand) -> Row:
    taken = measured.of(command, repository)
    ratio = taken.cpu_s / measured.of("baseline", repository).cpu_s
    return Row(title, f"{taken.cpu_s:.2f}", f"{ratio:.2f}", f"{taken.peak_mb:.0f}", demands)


def _ratio(measured: Measurements, repository: Repository) -> float:
    return measured.of("convert", repository).cpu_s / measured.of("baseline", repository).cpu_s


def _advantage(measured: Measurements, repository: Repository) -> tuple[Demand, Demand]:
    """The conversion against the rebuild."""
    convert, rebuild = measured.of("convert", repository), measured.of("rebuild", repository)
    time, memory = rebuild.cpu_s / convert.cpu_s, rebuild.peak_mb / convert.peak_mb
    return (
        Demand(f"≥ 2 × the conversion's time: {time:.1f} ×", time >= 2),
        Demand(f"≥ 4 × its memory: {memory:.1f} ×", memory >= 4),
    )


def _changes(measured: Measurements, repository: Repository) -> str:
    result = measured.of("convert", repository).result
    return f"{result['refs_converted']:,} references in legacy form, {result['records_changed']:,} records changed"


def _write(repository: Repository) -> None:
    tell(f"writing {repository.records:,} records: {repository.file.stem}")
    repository.write()


def _check(measured: Measurements, repository: Repository) -> None:
    """End the program if the conversion's result is not right: then its speed does not matter."""
    converted, rebuilt = measured.of("convert", repository).result, measured.of("rebuild", repository).result
    name = repository.file.stem
    if any(converted[field] != value for field, value in rebuilt.items()):
        sys.exit(f"{name}: the conversion came to {converted}, and the rebuild to {rebuilt}")
    target = repository.converted("convert")
    if converted["signature"] == "kept":
        if not filecmp.cmp(repository.file, target, shallow=False):
            sys.exit(f"{name}: nothing was to convert, and the file is another one")
        return
    found = launch([EUROSKY, "car", "verify", target, "--json"]).result
    if found["orphan_blocks"] or found["duplicate_blocks"] or found["root"] != converted["root"]:
        sys.exit(f"{name}: the converted file is not what it should be: {found}")


def _table(rows: Iterable[Row]) -> Iterable[str]:
    yield "| what | CPU s | × baseline | peak MB | must | aim |"
    yield "|---|---:|---:|---:|---|---|"
    for row in rows:
        must, aim = (told(row.demands, is_aim=is_aim) for is_aim in (False, True))
        yield f"| {row.title} | {row.cpu_s} | {row.ratio} | {row.peak_mb} | {must} | {aim} |"


if __name__ == "__main__":
    main()
