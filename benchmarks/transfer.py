"""The transfer engine, its speed and its memory: `python -m benchmarks.transfer --help`.

Every run is a process of its own, against servers that are processes of their own, on this machine; runs that are
compared take turns. Of the ratios of all rounds the middle one counts, since a machine is never quiet. Every blob that
was moved has been compared with what it should be before its speed is told.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bare_client import move_barely
from benchmarks.blob_account import (
    account_to_move,
    count_arrived,
    listed_and_logged_in,
    two_servers,
    write_repository_of,
)
from benchmarks.blob_engine import Job
from benchmarks.blob_runs import (
    Taken,
    WrongResultError,
    list_and_plan,
    move,
    move_by_curl,
    move_with_a_kill,
    run_job,
)
from benchmarks.blob_servers import far_away
from benchmarks.demands import Demand, missed, told
from benchmarks.document import replace_table, tell
from benchmarks.made_blobs import MadeBlobs
from eurosky_pipeline.sandbox.seed import SeededAccount

DELAY_S = 0.1
WORKERS = (1, 5, 16)
SMALL = MadeBlobs(500, 50_000)
LARGE = MadeBlobs(20, 50_000_000)
HUGE = MadeBlobs(5, 1_000_000_000)
KILLED = MadeBlobs(200, 1_000_000)
LISTED = MadeBlobs(100_000, 50_000)
_BLOBS_PER_S = 20


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, its numbers written out."""

    title: str
    measured: str
    demands: tuple[Demand, ...] = ()


class Benchmark:
    """Makes the rows; each run has a folder of its own."""

    def __init__(self, folder: Path, rounds: int, real_blobs: int) -> None:
        self._folder, self._rounds, self._real_blobs = folder, rounds, real_blobs
        self._runs = 0

    def small(self) -> Iterable[Row]:
        """Many small blobs, each request answered late by a stub."""
        runs = self._by_workers(lambda home, workers: move(home, SMALL, workers, delay_s=DELAY_S))
        title = f"{SMALL.count} blobs of {SMALL.size_bytes // 1000} KB, {DELAY_S * 1000:.0f} ms in each request"
        yield from speed_ups(title, runs, {5: (4.8, 4.9), 16: (15, 15.8)})

    def real(self) -> Iterable[Row]:
        """The same between two real servers, a proxy before each."""
        home, count = self._new_folder(), self._real_blobs
        with (
            two_servers(home) as state,
            far_away(state.source_pds, DELAY_S) as source,
            far_away(state.destination_pds, DELAY_S) as destination,
        ):

            def move_account(run: Callable[[SeededAccount], Taken]) -> Taken:
                account = account_to_move(home, state, count, SMALL.size_bytes, f"blobs-{self._runs}")
                taken = run(account)
                if count_arrived(home, account) != count:
                    raise WrongResultError("not all blobs are at the destination")
                return taken

            def by_engine(own_home: Path, workers: int) -> Taken:
                def run(account: SeededAccount) -> Taken:
                    job = Job(source, destination, workers, did=account.did, password=account.destination_password)
                    return run_job(own_home, job, count)

                return move_account(run)

            def barely(_: Path, workers: int) -> Taken:
                def run(account: SeededAccount) -> Taken:
                    cids, access_token = listed_and_logged_in(home, account)
                    return move_barely(source, destination, account.did, access_token, cids, workers)

                return move_account(run)

            runs = self._by_workers(by_engine)
            bare = self._by_workers(barely)
        title = f"{count} blobs of {SMALL.size_bytes // 1000} KB on the average between two reference PDSes"
        title += f", {DELAY_S * 1000:.0f} ms more in each request"
        yield from speed_ups(title, runs, {5: (4.3,), 16: (13,)})
        yield from speed_ups("the same by a client that does nothing else, and checks nothing", bare, {})

    def large(self) -> Iterable[Row]:
        """Large blobs, nothing in the way, beside curl."""
        runs = self._take_turns(
            {"engine": lambda home: move(home, LARGE, 5), "curl": lambda home: move_by_curl(home, LARGE)}
        )
        size_gb = LARGE.count * LARGE.size_bytes / 1e9
        engine, curl = runs["engine"], runs["curl"]
        cpu = median(ours.cpu_s / theirs.cpu_s for ours, theirs in zip(engine, curl, strict=True))
        speed = median(theirs.wall_s / ours.wall_s for ours, theirs in zip(engine, curl, strict=True))
        title = f"{LARGE.count} blobs of {LARGE.size_bytes // 10**6} MB, 5 workers"
        yield Row(
            title,
            _throughput(engine, size_gb),
            (
                Demand(f"CPU ≤ 1.8 × curl's: {cpu:.2f} ×", cpu <= 1.8),
                Demand(f"MB/s ≥ curl's: {speed:.2f} ×", speed >= 1),
                Demand("CPU ≤ 1.2 ×", cpu <= 1.2, is_aim=True),
            ),
        )
        yield Row("the same by `curl` into `curl`, five at a time", _throughput(curl, size_gb))

    def huge(self) -> Iterable[Row]:
        """Memory, where blobs are very large."""
        runs = self._take_turns({"engine": lambda home: move(home, HUGE, HUGE.count)})["engine"]
        memory_mb = median(taken.above_idle_mb for taken in runs)
        yield Row(
            f"{HUGE.count} blobs of {HUGE.size_bytes // 10**9} GB at once",
            f"{memory_mb:.1f} MB above idle",
            (Demand("≤ 40 MB", memory_mb <= 40), Demand("≤ 10 MB", memory_mb <= 10, is_aim=True)),
        )

    def killed(self) -> Iterable[Row]:
        """A transfer that is killed in the middle, and started again."""
        runs = []
        for _ in range(self._rounds):
            runs.append(move_with_a_kill(self._new_folder(), KILLED, 5, delay_s=0.02))
            tell(f"killed: {runs[-1]}")
        total_bytes = KILLED.count * KILLED.size_bytes
        sent_bytes, limit_bytes = max(run.sent_bytes for run in runs), total_bytes // 2 + 5 * KILLED.size_bytes
        twice = max(run.sent_twice for run in runs)
        yield Row(
            f"{KILLED.count} blobs of {KILLED.size_bytes // 10**6} MB, killed when half of the bytes were there, "
            f"and started again (the worst of {self._rounds})",
            f"{sent_bytes / total_bytes:.1%} of the bytes sent after it, {twice} blobs sent twice",
            (Demand("≤ 50 % + 5 blobs", sent_bytes <= limit_bytes), Demand("none twice", twice == 0, is_aim=True)),
        )

    def listed(self) -> Iterable[Row]:
        """A large manifest: everything but to move the blobs."""
        car = self._new_folder() / "account.car"
        write_repository_of(LISTED, car)
        runs = self._take_turns({"engine": lambda home: list_and_plan(home, car, LISTED, 5)})["engine"]
        run = sorted(runs, key=lambda taken: taken.wall_s)[len(runs) // 2]
        limit_s = LISTED.count / _BLOBS_PER_S * 0.05
        yield Row(
            f"{LISTED.count:,} blobs listed, planned and written down, and none moved",
            f"{run.listing_s:.1f} s manifest + {run.planning_s:.1f} s plan + {run.ledger_s:.1f} s ledger and progress; "
            f"{run.above_idle_mb:.1f} MB above idle",
            (
                Demand(f"≤ {limit_s:.0f} s (5 % of the time at {_BLOBS_PER_S} blobs/s)", run.wall_s <= limit_s),
                Demand("≤ 40 MB", run.above_idle_mb <= 40),
            ),
        )

    def _by_workers(self, run: Callable[[Path, int], Taken]) -> dict[int, list[Taken]]:
        runs = self._take_turns({str(workers): partial(_swapped, run, workers) for workers in WORKERS})
        return {int(workers): taken for workers, taken in runs.items()}

    def _take_turns(self, runs: Mapping[str, Callable[[Path], Taken]]) -> dict[str, list[Taken]]:
        found: dict[str, list[Taken]] = {name: [] for name in runs}
        for number in range(self._rounds):
            for name, run in runs.items():
                taken = run(self._new_folder())
                found[name].append(taken)
                tell(f"round {number + 1} of {self._rounds}, {name}: {taken.wall_s:.2f} s, {taken.cpu_s:.2f} s of CPU")
        return found

    def _new_folder(self) -> Path:
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        return folder


ROWS = ("small", "real", "large", "huge", "killed", "listed")


def main() -> None:
    """Measure, check, and print the table; `--write` puts it in its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real-rounds", type=int, default=1, help="of the runs between real servers, each of minutes")
    parser.add_argument("--real-blobs", type=int, default=SMALL.count, help="how many these move")
    parser.add_argument("--only", choices=ROWS, action="append", help="these rows; may be given several times")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the marks in FILE")
    options = parser.parse_args()

    rows: list[Row] = []
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only or ROWS:
            rounds = options.real_rounds if name == "real" else options.rounds
            own_folder = Path(folder) / name
            own_folder.mkdir()
            rows += getattr(Benchmark(own_folder, rounds, options.real_blobs), name)()
    table = "\n".join(
        [
            f"The middle of {options.rounds} rounds, of {options.real_rounds} between the PDSes; "
            f"Python {sys.version.split()[0]}, {_curl_version()}; {os.cpu_count()} processors, load average "
            f"{load_before:.1f} before and {os.getloadavg()[0]:.1f} afterwards.",
            *_left_out(options.only or ROWS),
            "",
            *_table(rows),
        ]
    )
    print(table)
    if options.write:
        replace_table(options.write, "transfer", table)
    failures = [f"{row.title}: {demand.text}" for row in rows for demand in missed(row.demands)]
    if failures:
        sys.exit("not met: " + "; ".join(failures))


def _swapped(run: Callable[[Path, int], Taken], workers: int, home: Path) -> Taken:
    return run(home, workers)


def speed_ups(title: str, runs: Mapping[int, Sequence[Taken]], goals: Mapping[int, tuple[float, ...]]) -> Iterable[Row]:
    """A row for each number of workers; `goals` are what the ratio to one worker must come to, and should."""
    for workers, taken in runs.items():
        ratio = median(one.wall_s / many.wall_s for one, many in zip(runs[1], taken, strict=True))
        demands = tuple(
            Demand(f"≥ {goal:g} × one worker: {_ratio(ratio, workers)}", goal <= ratio <= workers, is_aim=place > 0)
            for place, goal in enumerate(goals.get(workers, ()))
        )
        wall_s, cpu_s = (median(values) for values in zip(*((t.wall_s, t.cpu_s) for t in taken), strict=True))
        of_workers = f"{workers} worker{'s' if workers > 1 else ''}"
        measured = f"{wall_s:.1f} s, {cpu_s:.1f} s of them CPU"
        yield Row(
            f"{title}: {of_workers}",
            measured if demands or workers == 1 else f"{measured}; {_ratio(ratio, workers)}",
            demands,
        )


def _ratio(ratio: float, workers: int) -> str:
    """No workers are more than so many times as fast: what says so was disturbed, and proves nothing."""
    return f"{ratio:.2f} ×" + (", which cannot be: the run was disturbed" if ratio > workers else "")


def _throughput(runs: Sequence[Taken], size_gb: float) -> str:
    cpu_s = median(taken.cpu_s for taken in runs) / size_gb
    return f"{cpu_s:.2f} s of CPU a GB, {1000 * size_gb / median(taken.wall_s for taken in runs):.0f} MB/s"


def _table(rows: Iterable[Row]) -> Iterable[str]:
    yield "| what | measured | must | aim |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row.title} | {row.measured} | {told(row.demands, is_aim=False)} | {told(row.demands, is_aim=True)} |"


def _left_out(measured: Sequence[str]) -> Iterable[str]:
    """So that a table of some rows is not taken for the whole."""
    names = [name for name in ROWS if name not in measured]
    if names:
        yield f"Not measured in this run, and so neither met nor missed: {', '.join(names)}."


def _curl_version() -> str:
    found = subprocess.run(["curl", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    return " ".join(found.stdout.split()[:2])


if __name__ == "__main__":
    main()
