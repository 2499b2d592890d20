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
_REQUESTS, _REQUESTS_EACH = 20, 3
"""About as many as a run makes without the blobs, and for each of them: by requests, and not by the clock, an instant
is as likely in a slow part of the run as in a quick one, on any machine."""
_JITTER_S = 0.1
_RUN_TIMEOUT_S = 1800.0
_MOST_RUNS = 4
_SETTLE_S = 0.5
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Killed:
    """One account's way through a kill.

    Attributes:
        requests: that the run had made; instant_s: from the first of them to the kill.
        killed_in: the migration's state at that moment, and how many blobs the ledger knew of.
        confirmed_before: blobs of which the run had been told that they are stored.
        in_flight: others, whose upload was under way.
        confirmed_sent_again: of the first; must be none.
        bytes_up_before, bytes_up_after: of uploads, by the killed run, and by those after it.
        refusal: what a second run said that was started at once.
        runs: that did work, the killed one included.
        leftovers: files in scratch that belong to no run, at the end.
    """

    requests: int
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


@dataclass(frozen=True, slots=True)
class Instant:
    """When so many requests have ended, or so many blobs are stored; and a moment later."""

    requests: int = 0
    uploads: int = 0
    jitter_s: float = 0.0

    def has_come(self, stage: Stage) -> bool:
        return _requests(stage) >= self.requests and len(stage.stored()) >= self.uploads


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
    chance, most = random.Random(f"kill/{seed}"), _REQUESTS + blobs * _REQUESTS_EACH
    while True:
        with (
            alone(home) as (folder, state),
            staged(folder, state, blobs=blobs, blob_bytes=blob_bytes, seed_number=seed) as stage,
        ):
            stage.source.latency_s = stage.destination.latency_s = latency_s
            after = Instant(requests=1 + chance.randrange(most), jitter_s=chance.uniform(0, _JITTER_S))
            killed = _kill(stage, after if after_uploads is None else Instant(uploads=after_uploads))
            if killed is not None:
                return _brought_to_its_end(stage, *killed, is_lease_tried=is_lease_tried)
            most = max(1, after.requests)  # it had ended by then: draw again, for another account


def _kill(stage: Stage, instant: Instant) -> tuple[int, float] | None:
    """The requests that the run has made, and the seconds from the first of them; None if it had ended before."""
    with (stage.home / "killed.log").open("wb") as log:
        process = subprocess.Popen(
            [EUROSKY, "migrate", stage.token],
            env=environment(stage.home, **stage.settings),
            cwd=stage.home,
            stdout=log,
            stderr=log,
        )
        begun_s, deadline_s = 0.0, time.monotonic() + _RUN_TIMEOUT_S
        try:
            while process.poll() is None and time.monotonic() < deadline_s and not instant.has_come(stage):
                begun_s = begun_s or (time.monotonic() if _requests(stage) else 0.0)
                time.sleep(_POLL_S)
            time.sleep(instant.jitter_s)
        finally:
            process.kill()
    is_killed = process.wait() == -signal.SIGKILL
    return (_requests(stage), time.monotonic() - (begun_s or time.monotonic())) if is_killed else None


def _requests(stage: Stage) -> int:
    return len(stage.source.record.passed()) + len(stage.destination.record.passed())


def _brought_to_its_end(stage: Stage, requests: int, instant_s: float, *, is_lease_tried: bool) -> Killed:
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
        requests=requests,
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
