"""The matrix: every fault in every phase that it can befall, each cell with an account and a home of its own.

All waits are the real ones. Most of a cell's time is waiting, so several run beside each other, each in a process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from eurosky_pipeline_tests.faults.cell import Result, Stage, alone, run_to_the_end, staged
from eurosky_pipeline_tests.faults.record import GET_BLOB, UPLOAD_BLOB
from eurosky_pipeline_tests.faults.rules import Fault, Rule


class Phase(StrEnum):
    """Where a fault strikes."""

    LOGIN = "login"
    LIST = "list blobs"
    LIST_MISSING = "list missing"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    REFRESH = "refresh"
    LOOK = "look at the end"
    ONE_DOWN = "one blob's download, always"
    ONE_UP = "one blob's upload, always"


@dataclass(frozen=True, slots=True)
class _Place:
    """Whom a phase asks for what, and which of the requests are befallen."""

    is_source: bool
    nsid: str
    method: str
    first: int
    count: int


_PLACES = {
    Phase.LOGIN: _Place(False, "com.atproto.server.createSession", "POST", 1, 2),
    Phase.LIST: _Place(True, "com.atproto.sync.listBlobs", "GET", 1, 2),
    Phase.LIST_MISSING: _Place(False, "com.atproto.repo.listMissingBlobs", "GET", 1, 2),
    Phase.DOWNLOAD: _Place(True, GET_BLOB, "GET", 2, 4),
    Phase.UPLOAD: _Place(False, UPLOAD_BLOB, "POST", 2, 4),
    Phase.REFRESH: _Place(False, "com.atproto.server.refreshSession", "POST", 1, 2),
    Phase.LOOK: _Place(False, GET_BLOB, "HEAD", 2, 4),
    Phase.ONE_DOWN: _Place(True, GET_BLOB, "GET", 1, 1),
    Phase.ONE_UP: _Place(False, UPLOAD_BLOB, "POST", 1, 1),
}
_SLOW = {Fault.STALL, Fault.DRIP}
_AFTER_THE_HEAD = {Fault.RESET_DOWN, Fault.CUT_SHORT, Fault.SHORTER, Fault.PADDED, Fault.OVERLONG, Fault.WRONG_BYTES}
_TOKEN = {Fault.EXPIRED_400, Fault.EXPIRED_401}
_ONCE = _SLOW | _TOKEN | {Fault.REFUSED}
_EVERY_REQUEST = 1_000_000


def cells() -> list[tuple[Fault, Phase]]:
    """Every cell that there is."""
    return [(fault, phase) for fault in Fault for phase in Phase if is_possible(fault, phase)]


def is_possible(fault: Fault, phase: Phase) -> bool:
    """Whether the fault can befall the phase at all, and means something there."""
    if fault is Fault.NONE:
        return phase is Phase.DOWNLOAD
    if fault is Fault.WRONG_CID:
        return phase in (Phase.UPLOAD, Phase.ONE_UP)
    if fault is Fault.RESET_UP:
        return phase in (Phase.UPLOAD, Phase.LOGIN)
    if fault is Fault.RESET_STORED:
        return phase in (Phase.UPLOAD, Phase.LOGIN, Phase.REFRESH)
    if fault in _TOKEN:
        return phase in (Phase.UPLOAD, Phase.LIST_MISSING, Phase.REFRESH)
    if phase is Phase.LOOK:  # the answer to HEAD has no body
        return fault not in _AFTER_THE_HEAD | {Fault.DRIP}
    if phase in (Phase.ONE_DOWN, Phase.ONE_UP):
        return fault not in _SLOW | {Fault.REFUSED, Fault.LATENCY} and "429" not in fault
    return True


def rules_of(fault: Fault, phase: Phase, blob_cid: str) -> tuple[list[Rule], list[Rule]]:
    """What the proxies before the source and the destination are told."""
    place = _PLACES[phase]
    count = 1 if fault in _ONCE else place.count
    first = place.first
    if fault in (Fault.LATENCY, Fault.LIMITED_TOMORROW):
        first, count = (1 if fault is Fault.LATENCY else first), _EVERY_REQUEST
    seconds = {Fault.LATENCY: 0.3, Fault.STALL: 600.0, Fault.REFUSED: 3.0}.get(fault, 2.0)
    is_one = phase in (Phase.ONE_DOWN, Phase.ONE_UP)
    rule = Rule(
        fault,
        place.nsid,
        place.method,
        first,
        count,
        blob_cid=blob_cid if is_one else None,
        seconds=seconds,
    )
    rules = [] if fault is Fault.NONE else [rule]
    if phase is Phase.REFRESH:  # something has to make the session stale first
        rules.append(Rule(Fault.EXPIRED_400, UPLOAD_BLOB, "POST", 3, 1))
    return (rules, []) if place.is_source else ([], rules)


def run_cell(home: Path, fault: Fault, phase: Phase, seed: int) -> Result:
    """One cell, in the sandbox of `home`, whose environment this process takes on."""
    with alone(home) as (folder, state), staged(folder, state, seed_number=seed) as stage:
        _tell(stage, fault, phase)
        return run_to_the_end(stage, fault, phase)


def run_matrix(
    pool: ProcessPoolExecutor,
    home: Path,
    chosen: Sequence[tuple[Fault, Phase]],
    *,
    seed: int,
    report: Callable[[Result], None],
) -> list[Result]:
    """These cells, several at a time; the results in the order of the cells.

    Raises: whatever broke a cell's harness, and not what befell its migration.
    """
    found: dict[tuple[Fault, Phase], Result] = {}
    slow_first = sorted(chosen, key=lambda cell: cell[0] not in _SLOW)
    under_way = {pool.submit(run_cell, home, *cell, seed): cell for cell in slow_first}
    for future in as_completed(under_way):
        found[under_way[future]] = future.result()
        report(found[under_way[future]])
    return [found[cell] for cell in chosen]


@contextmanager
def quiet_processes(processes: int, log: Path) -> Iterator[ProcessPoolExecutor]:
    """Processes whose output goes to a file; none is left when the block ends."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_say_it_to, initargs=(log,)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _say_it_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def _tell(stage: Stage, fault: Fault, phase: Phase) -> None:
    source, destination = rules_of(fault, phase, min(stage.planned))
    stage.source.rules.extend(source)
    stage.destination.rules.extend(destination)


def faults_of(results: Iterable[Result]) -> Iterator[str]:
    """What no cell may show, in words; none if all is well."""
    for result in results:
        verdict, where = result.verdict, f"{result.fault} × {result.phase}"
        if verdict.lost:
            yield f"{where}: lost {', '.join(verdict.lost)}"
        if verdict.counted_twice or verdict.miscounts:
            yield f"{where}: {verdict.counted_twice} counted twice; {'; '.join(verdict.miscounts)}"
        if verdict.needless:
            yield f"{where}: {verdict.needless} sent again though they were known to be there"
        if verdict.records_differing:
            yield f"{where}: {verdict.records_differing} records differ"
        if not result.hits and result.fault != Fault.NONE:
            yield f"{where}: the fault struck nothing"
