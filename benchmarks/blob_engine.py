"""The transfer engine without Dagster, in a process of its own: `python -m benchmarks.blob_engine`, a job on its stdin.

It is the real thing: plan, workers, copies, ledger and progress in SQLite. What it leaves out is Dagster's run, the
events, and the progress that people see. It prints what it took as one JSON object.
"""

import gc
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from benchmarks.repository import DID
from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.transfer.blobs import TransferTotals, transfer_blobs
from eurosky_pipeline.transfer.manifest import ManifestRow, read_rows, write_manifest
from eurosky_pipeline.transfer.plan import TransferPlan, plan_transfer
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import list_blobs
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.session import log_in

MANIFEST, COPY = "manifest", "copy"
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        kind: COPY: plan and copy what the source lists; MANIFEST: everything but to copy.
        source, destination: base URLs; password: of the account at the destination, empty for a stub that asks none.
        token: of a migration to go on with; empty for a new one.
        car: for MANIFEST, the account's repository.
    """

    source: str
    destination: str
    workers: int
    kind: str = COPY
    did: str = DID
    password: str = field(default="", repr=False)
    token: str = ""
    car: str = ""


class Meter:
    """Seconds on the clock and of this process, and memory above what it had at first."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        self.idle_mb = _status_mb("VmRSS")
        self._cpu_s, self._wall_s = _cpu_s(), time.monotonic()

    def read(self) -> dict[str, float]:
        return {
            "wall_s": time.monotonic() - self._wall_s,
            "cpu_s": _cpu_s() - self._cpu_s,
            "idle_mb": self.idle_mb,
            "above_idle_mb": _status_mb("VmHWM") - self.idle_mb,
        }


class Engine:
    """The parts of a transfer, put together as the assets do it."""

    def __init__(self, job: Job, settings: Settings, registry: Registry, token: str, http: httpx.Client) -> None:
        self._job, self._settings, self._registry, self._token = job, settings, registry, token
        self._stop = threading.Event()
        self._files = Workspace(settings.home, settings.resolved_artifacts, token)
        self._source, self._destination = (
            XrpcClient(http, url).with_pace(HostPace(url, max_wait_s=settings.max_wait_s), self._stop)
            for url in (job.source, job.destination)
        )
        if job.password:
            session = log_in(self._destination, job.did, SecretStr(job.password))
            self._destination = self._destination.with_authorization(session)

    def copy(self) -> dict[str, Any]:
        """Plan, and then, measured, move what the source lists."""
        plan = self._plan(ManifestRow(cid) for cid in list_blobs(self._source, self._job.did))
        with self._files.blob_folder() as folder:
            copier = BlobCopier(
                self._source, self._destination, self._job.did, folder, self._settings.max_blob_bytes, self._stop
            )
            meter = Meter()
            totals = self._transfer(plan, copier)
            return meter.read() | _counts(totals)

    def all_but_copy(self) -> dict[str, Any]:
        """List, plan, and keep the books of blobs that are not moved; all of it measured."""
        meter, path = Meter(), self._files.scratch("blob_manifest.csv")
        listed = list_blobs(self._source, self._job.did)
        write_manifest(Path(self._job.car), listed, path)
        listed_s = meter.read()["wall_s"]
        plan = self._plan(read_rows(path))
        planned_s = meter.read()["wall_s"]
        totals = self._transfer(plan, _arrived)
        taken = meter.read()
        ledger_s = taken["wall_s"] - planned_s
        seconds = {"listing_s": listed_s, "planning_s": planned_s - listed_s, "ledger_s": ledger_s}
        return taken | _counts(totals) | seconds

    def _plan(self, rows: Iterable[ManifestRow]) -> TransferPlan:
        return plan_transfer(
            self._destination,
            self._job.did,
            rows,
            self._registry.each_outcome(self._token),
            imported_at=datetime.fromtimestamp(0, UTC),  # before all that the ledger can tell of
            workers=self._job.workers,
            stop=self._stop,
        )

    def _transfer(self, plan: TransferPlan, copy: Callable[[Cid], BlobOutcome]) -> TransferTotals:
        return transfer_blobs(
            plan,
            copy,
            self._registry,
            self._token,
            workers=self._job.workers,
            update_interval=self._settings.progress_update_interval,
            stop=self._stop,
        )


def main() -> None:
    job, settings = Job(**json.load(sys.stdin)), load_settings()
    registry = open_registry(settings)
    token = job.token or registry.add(NewMigration(job.did, job.source, job.destination), {}).token
    print(json.dumps({"token": token}), flush=True)
    with new_http_client(job.workers, HostPolicy(is_private_allowed=True)) as http:
        engine = Engine(job, settings, registry, token, http)
        taken = engine.all_but_copy() if job.kind == MANIFEST else engine.copy()
    registry.close()
    print(json.dumps(taken))


def _arrived(cid: Cid) -> BlobOutcome:
    """As of a blob that was moved."""
    now = datetime.now(UTC)
    return BlobOutcome(
        cid,
        Outcome.TRANSFERRED,
        size_bytes=50_000,
        mime_type="image/jpeg",
        attempts=2,
        bytes_moved=100_000,
        started_at=now,
        ended_at=now,
    )


def _counts(totals: TransferTotals) -> dict[str, Any]:
    return {
        "blobs_total": totals.blobs_total,
        "blobs_completed": totals.blobs_completed,
        "bytes_transferred": totals.bytes_transferred,
        "by_outcome": {str(name): count for name, count in totals.by_outcome.items()},
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status_mb(name: str) -> float:
    """A row of `/proc/self/status`, in 10⁶ bytes."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{name}:")) * 1024 / _MB


if __name__ == "__main__":
    main()
