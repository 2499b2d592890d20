"""Runs of the transfer engine and of its peer, each a process of its own, and each checked before it is told."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.blob_engine import COPY, MANIFEST, Job
from benchmarks.blob_servers import Stub, stub
from benchmarks.made_blobs import MadeBlobs
from benchmarks.repository import DID

_ROOT = Path(__file__).parent.parent
_PEER = Path(__file__).parent / "curl_peer.sh"
PEER_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Taken:
    """What a transfer took: seconds on the clock and of its processes, memory above idle in 10⁶ bytes; of a run that
    moves nothing, the seconds of its parts."""

    wall_s: float
    cpu_s: float
    above_idle_mb: float = 0.0
    listing_s: float = 0.0
    planning_s: float = 0.0
    ledger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """A transfer that was killed and started again.

    `killed_at_bytes` were at the destination when it was killed, those of broken-off bodies included; `sent_bytes`
    came afterwards, and `sent_twice` blobs among them were there already.
    """

    killed_at_bytes: int
    sent_bytes: int
    sent_twice: int


class WrongResultError(Exception):
    """A transfer did not do what it was measured for."""


def move(home: Path, blobs: MadeBlobs, workers: int, *, delay_s: float = 0.0) -> Taken:
    """Move made-up blobs from a stub to a stub."""
    with stub(blobs, delay_s=delay_s) as source, stub(blobs, delay_s=delay_s) as destination:
        taken = run_job(home, Job(source.url, destination.url, workers, kind=COPY), blobs.count)
        _check(destination, blobs)
        return taken


def move_by_curl(folder: Path, blobs: MadeBlobs) -> Taken:
    """The same by `curl` into `curl`, with a digest in between, five at a time."""
    cids = blobs.cids()
    (folder / "cids").write_text("".join(f"{cid}\n" for cid in cids))
    with stub(blobs) as source, stub(blobs) as destination:
        words = ["xargs", "-a", folder / "cids", f"-P{PEER_AT_ONCE}", "-n1", _PEER]
        taken = _launch([*words, source.url, destination.url, DID, folder])
        _check(destination, blobs)
    for cid in cids:
        if not (folder / f"{cid}.sha256").read_text().startswith(cid.digest.hex()):
            raise WrongResultError(f"the peer found another digest than that of {cid}")
    return taken


def list_and_plan(home: Path, car: Path, blobs: MadeBlobs, workers: int) -> Taken:
    """Everything but to move them."""
    with stub(blobs) as source, stub(blobs) as destination:
        job = Job(source.url, destination.url, workers, kind=MANIFEST, car=str(car))
        return run_job(home, job, blobs.count)


def move_with_a_kill(home: Path, blobs: MadeBlobs, workers: int, *, delay_s: float) -> Resumed:
    """Kill the transfer when half of the bytes are there, and start it again."""
    half_bytes = blobs.count * blobs.size_bytes // 2
    with stub(blobs, delay_s=delay_s) as source, stub(blobs, delay_s=delay_s) as destination:
        process = _start(home, Job(source.url, destination.url, workers))
        assert process.stdout
        token = json.loads(process.stdout.readline())["token"]
        while destination.counts().received_bytes < half_bytes and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        if process.wait() == 0:
            raise WrongResultError("the transfer had ended before it could be killed")
        process.stdout.close()
        time.sleep(0.5 + delay_s)  # what was on its way in still counts as of before
        killed = destination.counts()
        run_job(home, Job(source.url, destination.url, workers, token=token), blobs.count)
        _check(destination, blobs)
        ended = destination.counts()
    return Resumed(killed.received_bytes, ended.received_bytes - killed.received_bytes, ended.uploads - blobs.count)


def run_job(home: Path, job: Job, blobs: int) -> Taken:
    """Run the engine. Raises WrongResultError unless all blobs were moved, or had been."""
    process = _start(home, job)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise WrongResultError(f"the engine ended with {process.returncode}")
    result = json.loads(output.splitlines()[-1])
    if not result["blobs_total"] == result["blobs_completed"] == blobs:
        raise WrongResultError(
            f"of {blobs} blobs, {result['blobs_total']} were planned and {result['blobs_completed']} arrived: "
            f"{result['by_outcome']}"
        )
    return Taken(**{name: result[name] for name in Taken.__slots__ if name in result})


def _start(home: Path, job: Job) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "benchmarks.blob_engine"]
    environment = {**os.environ, "EUROSKY_HOME": str(home)}
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, env=environment, text=True
    )
    assert process.stdin
    with process.stdin as stream:
        json.dump(asdict(job), stream)
    process.stdin = None  # so that `communicate` leaves it alone
    return process


def _launch(words: Sequence[object]) -> Taken:
    program = shutil.which(str(words[0]))
    if program is None:
        raise WrongResultError(f"{words[0]} is not on this machine")
    launcher = [sys.executable, "-I", "-S", Path(__file__).parent / "launch.py", program, *words[1:]]
    done = subprocess.run(list(map(str, launcher)), stdout=subprocess.PIPE, check=True)
    taken = json.loads(done.stdout)
    if taken["exit_code"] != 0:
        raise WrongResultError(f"{words[0]} ended with {taken['exit_code']}")
    return Taken(taken["wall_s"], taken["cpu_s"])


def _check(destination: Stub, blobs: MadeBlobs) -> None:
    """Raises WrongResultError unless each blob came, and nothing that is none."""
    found = destination.counts()
    if found.arrived != blobs.count or found.wrong:
        raise WrongResultError(f"of {blobs.count} blobs, {found.arrived} arrived; {found.wrong} bodies were wrong")
