"""All blobs of a manifest: the workers' outcomes, counted and written down as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.xrpc.workers import run_workers


@dataclass(slots=True)
class TransferTotals:
    """What has become of the blobs so far. `blobs_total` were planned; each ends in `completed` or in `failed`."""

    blobs_total: int
    blobs_completed: int = 0
    bytes_transferred: int = 0
    failed: list[BlobOutcome] = field(default_factory=list)
    by_outcome: dict[str, int] = field(default_factory=dict)

    @property
    def blobs_settled(self) -> int:
        return self.blobs_completed + len(self.failed)

    def count(self, outcome: BlobOutcome) -> None:
        self.by_outcome[outcome.outcome] = self.by_outcome.get(outcome.outcome, 0) + 1
        if outcome.is_there:
            self.blobs_completed += 1
            self.bytes_transferred += outcome.size_bytes
        else:
            self.failed.append(outcome)

    def as_progress(self) -> dict[str, object]:
        """The keys of `progress_data` that this knows."""
        return {
            "blobs_total": self.blobs_total,
            "blobs_completed": self.blobs_completed,
            "bytes_transferred": self.bytes_transferred,
            "failed_blobs": [str(outcome.blob_cid) for outcome in self.failed],
            "last_progress_update": utc_now(),
        }


def transfer_blobs(
    cids: Sequence[Cid],
    copy: Callable[[Cid], BlobOutcome],
    registry: Registry,
    token: str,
    *,
    workers: int,
    update_interval: int,
    stop: threading.Event,
    settled_before: Iterable[BlobOutcome] = (),
    on_settled: Callable[[TransferTotals], None] = lambda _: None,
) -> TransferTotals:
    """Copy every blob; the calling thread alone writes ledger and progress, every `update_interval` blobs.

    A blob that fails is recorded, and the rest goes on.

    Args:
        settled_before: outcomes of the same migration's other blobs, which count in the totals.
        on_settled: called, in this thread, after each blob.

    Raises:
        FatalError: from a copy; what was settled before is written down.
    """
    totals = TransferTotals(len(cids))
    for outcome in settled_before:
        totals.blobs_total += 1
        totals.count(outcome)
    unwritten: list[BlobOutcome] = []

    def write() -> None:
        registry.record(token, totals.as_progress(), _drained(unwritten))

    try:
        with closing(run_workers(cids, copy, workers=workers, stop=stop)) as outcomes:
            for outcome in outcomes:
                totals.count(outcome)
                unwritten.append(outcome)
                if len(unwritten) >= update_interval:
                    write()
                on_settled(totals)
    finally:
        write()
    return totals


def utc_now() -> str:
    """The time, as `progress_data` has it: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _drained(outcomes: list[BlobOutcome]) -> Iterable[BlobOutcome]:
    taken = list(outcomes)
    outcomes.clear()
    return taken
