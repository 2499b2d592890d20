"""SIGKILL: `eurosky migrate` as a process of its own, killed at a random instant, and run again until it is done."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline_tests.faults.cell import Stage, Verdict, alone, look, staged
from eurosky_pipeline_tests.faults.record import UPLOAD_BLOB
from eurosky_pipeline_tests.integration.command import EUROSKY, Finished, environment, eurosky

BLOBS = 60
BLOB_BYTES = 20_000
WORKERS = 5
LATENCY_S = 0.03
"""In every request, so that most of a run is the transfer and not Python's start."""
_START_S, _EACH_S = 4.0, 0.05
"""About as long as a run takes from its first request on, without the blobs, and for each of them."""
_RUN_TIMEOUT_S = 1800.0
_MOST_RUNS = 4
_SETTLE_S = 0.5
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Killed:
    """One account's way through a kill.

    Attributes:
        instant_s: from the run's first request to the kill.
        killed_in: the migration's state at that moment, and how many blobs the ledger knew of.
        confirmed_before: blobs of which the run had been told that they are stored.
        in_flight: others, whose upload was under way.
        confirmed_sent_again: of the first; must be none.
        bytes_up_before, bytes_up_after: of uploads, by the killed run, and by those after it.
        refusal: what a second run said that was started at once.
        runs: that did work, the killed one included.
        leftovers: files in scratch that belong to no run, at the end.
    """

    instant_s: float
    killed_in: str
    ledger_rows: int
    planned: int
    confirmed_before: int
    in_flight: int
    confirmed_sent_again: int
    bytes_up_before: int
    bytes_up_after: int
    refusal: str
    runs: int
    exit_code: int
    leftovers: tuple[str, ...]
    is_ledger_true: bool
    seconds: float
    verdict: Verdict


def run_kill(
    home: Path,
    seed: int,
    *,
    blobs: int = BLOBS,
    blob_bytes: int = BLOB_BYTES,
    latency_s: float = LATENCY_S,
    after_uploads: int | None = None,
    is_lease_tried: bool = False,
) -> Killed:
    """Kill one run in the sandbox of `home`, whose environment this process takes on, and bring the account to its end.

    Args:
        seed: decides the instant.
        after_uploads: kill when so many blobs are stored, instead of at random.
        is_lease_tried: start a second run at once, which the dead one's lease has to keep out.
    """
    chance, longest_s = random.Random(f"kill/{seed}"), _START_S + blobs * (2 * latency_s + _EACH_S) / WORKERS
    while True:
        with (
            alone(home) as (folder, state),
            staged(folder, state, blobs=blobs, blob_bytes=blob_bytes, seed_number=seed) as stage,
        ):
            stage.source.latency_s = stage.destination.latency_s = latency_s
            at_s = None if after_uploads is not None else chance.uniform(0, longest_s)
            instant_s = _kill(stage, at_s, after_uploads or 0)
            if instant_s is not None:
                return _brought_to_its_end(stage, instant_s, is_lease_tried=is_lease_tried)
            longest_s = at_s or 0.0  # it had ended by then: draw again, for another account


def _kill(stage: Stage, at_s: float | None, after_uploads: int) -> float | None:
    """Seconds from the first request to the kill; None if the run had ended before."""
    with (stage.home / "killed.log").open("wb") as log:
        process = subprocess.Popen(
            [EUROSKY, "migrate", stage.token],
            env=environment(stage.home, **stage.settings),
            cwd=stage.home,
            stdout=log,
            stderr=log,
        )
        try:
            instant_s = _wait_for_instant(stage, process, at_s, after_uploads)
        finally:
            process.kill()
    return instant_s if process.wait() == -signal.SIGKILL else None


def _wait_for_instant(
    stage: Stage, process: subprocess.Popen[bytes], at_s: float | None, after_uploads: int
) -> float | None:
    """Seconds since the first request; None if the process has ended by itself."""
    begun_s, deadline_s = None, time.monotonic() + _RUN_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        now_s = time.monotonic()
        if begun_s is None:
            begun_s = now_s if stage.source.record.passed() + stage.destination.record.passed() else None
            continue
        if now_s - begun_s >= at_s if at_s is not None else len(stage.stored()) >= after_uploads:
            return now_s - begun_s
    return None


def _brought_to_its_end(stage: Stage, instant_s: float, *, is_lease_tried: bool) -> Killed:
    started_s, record = time.monotonic(), stage.destination.record
    confirmed, migration = set(record.confirmed()), stage.migration
    rows = len(stage.registry.outcomes(stage.token))
    time.sleep(_SETTLE_S)  # what a proxy has whole, the server still gets
    before, uploads_before = stage.stored(), len(record.passed(UPLOAD_BLOB))
    refusal = _migrate(stage).stderr if is_lease_tried else ""
    runs = 1
    while runs < _MOST_RUNS:
        stage.registry.release_leases(stage.migration.lease_holder or "")  # as if its lifetime were over
        done = _migrate(stage)
        runs += 1
        if done.exit_code in (0, 3):
            break
    verdict, uploads = look(stage), record.passed(UPLOAD_BLOB)
    scratch = stage.home / "work" / stage.token
    there = {str(row.blob_cid) for row in stage.registry.outcomes(stage.token) if row.is_there}
    return Killed(
        instant_s=round(instant_s, 2),
        killed_in=str(migration.state),
        ledger_rows=rows,
        planned=len(stage.planned),
        confirmed_before=len(confirmed),
        in_flight=len(before.keys() - confirmed),
        confirmed_sent_again=sum(passed.blob_cid in confirmed for passed in uploads[uploads_before:]),
        bytes_up_before=sum(passed.bytes_up for passed in uploads[:uploads_before]),
        bytes_up_after=sum(passed.bytes_up for passed in uploads[uploads_before:]),
        refusal=refusal,
        runs=runs,
        exit_code=done.exit_code,
        leftovers=tuple(sorted(p.name for p in [*scratch.glob("blobs"), *scratch.glob("*.partial")])),
        is_ledger_true=there == stage.planned and not verdict.lost,
        seconds=round(time.monotonic() - started_s, 1),
        verdict=verdict,
    )


def _migrate(stage: Stage) -> Finished:
    return eurosky("migrate", stage.token, home=stage.home, timeout_s=_RUN_TIMEOUT_S, **stage.settings)


def faults_of(killed: Killed) -> Iterator[str]:
    """What no kill may leave behind, in words; none if all is well."""
    verdict = killed.verdict
    if killed.exit_code != 0 or verdict.arrived != verdict.planned:
        yield f"exit code {killed.exit_code}, {verdict.arrived} of {verdict.planned} blobs arrived"
    if verdict.lost or verdict.counted_twice or verdict.miscounts or verdict.records_differing:
        yield f"{len(verdict.lost)} lost, {verdict.counted_twice} counted twice; {'; '.join(verdict.miscounts)}"
    if not killed.is_ledger_true:
        yield "the ledger is not what is at the destination"
    if killed.confirmed_sent_again:
        yield f"{killed.confirmed_sent_again} blobs were sent again that the killed run knew to be stored"
    if verdict.sent_again > WORKERS:
        yield f"{verdict.sent_again} blobs were sent twice, and only {WORKERS} can have been under way"
    if killed.leftovers:
        yield f"left in scratch: {', '.join(killed.leftovers)}"
