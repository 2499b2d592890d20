"""All blobs of a manifest: the workers' outcomes, counted and written down as they come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.transfer.plan import TransferPlan
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited
from eurosky_pipeline.xrpc.workers import run_workers

GONE_AFTER: Final = 10
"""Blobs in a row that failed since a host could not be asked: then it is the host, and not the blobs."""
_EACH_WRITTEN: Final = 1000
"""Failed blobs up to which each new one is written at once; a longer list is written when it has grown by a tenth."""

LARGEST_SHOWN: Final = 10


@dataclass(slots=True)
class TransferTotals:
    """What has become of the blobs so far. `blobs_total` were planned; each ends in `completed` or in `failed`.

    Attributes:
        bytes_transferred: of all that has ever been transferred; `bytes_moved` of what was by this run.
        largest: of what was transferred by this run, the largest first.
    """

    blobs_total: int
    blobs_completed: int = 0
    bytes_transferred: int = 0
    bytes_moved: int = 0
    largest: list[BlobOutcome] = field(default_factory=list)
    failed: list[BlobOutcome] = field(default_factory=list)
    by_outcome: dict[str, int] = field(default_factory=dict)
    _failed_written: int = -1

    @classmethod
    def of(cls, plan: TransferPlan) -> TransferTotals:
        """Before the first blob is moved: what is there counts as completed."""
        totals = cls(len(plan.to_move) + plan.arrived_before + len(plan.found), plan.arrived_before, plan.arrived_bytes)
        if plan.arrived_before:
            totals.by_outcome["arrived before"] = plan.arrived_before
        for outcome in plan.found:
            totals.count(outcome)
        return totals

    @property
    def blobs_settled(self) -> int:
        return self.blobs_completed + len(self.failed)

    @property
    def has_moved_nothing_for_now(self) -> bool:
        """Whether all that was tried has failed, and not for good."""
        return (
            bool(self.failed)
            and not self.by_outcome.get(Outcome.TRANSFERRED)
            and all(outcome.error_class == "transient" for outcome in self.failed)
        )

    def count(self, outcome: BlobOutcome) -> None:
        self.by_outcome[outcome.outcome] = self.by_outcome.get(outcome.outcome, 0) + 1
        if not outcome.is_there:
            self.failed.append(outcome)
            return
        self.blobs_completed += 1
        if outcome.outcome is Outcome.TRANSFERRED:
            self.bytes_transferred += outcome.size_bytes
            self.bytes_moved += outcome.size_bytes
            self._rank(outcome)

    def _rank(self, outcome: BlobOutcome) -> None:
        """Many come, and few are among the largest."""
        if len(self.largest) < LARGEST_SHOWN or outcome.size_bytes > self.largest[-1].size_bytes:
            self.largest.append(outcome)
            self.largest.sort(key=lambda each: (-each.size_bytes, each.blob_cid))
            del self.largest[LARGEST_SHOWN:]

    def as_progress(self, *, is_last: bool = False) -> dict[str, object]:
        """The keys of `progress_data` that this knows; a long list of failed blobs only now and then, and at last."""
        progress: dict[str, object] = {
            "blobs_total": self.blobs_total,
            "blobs_completed": self.blobs_completed,
            "bytes_transferred": self.bytes_transferred,
            "last_progress_update": utc_now(),
        }
        count, written = len(self.failed), self._failed_written
        if is_last or (count != written and (count <= _EACH_WRITTEN or count >= written * 1.1)):
            progress["failed_blobs"] = [str(outcome.blob_cid) for outcome in self.failed]
            self._failed_written = count
        return progress


def transfer_blobs(
    plan: TransferPlan,
    copy: Callable[[Cid], BlobOutcome],
    registry: Registry,
    token: str,
    *,
    workers: int,
    update_interval: int,
    stop: threading.Event,
    on_settled: Callable[[TransferTotals, BlobOutcome], None] = lambda *_: None,
) -> TransferTotals:
    """Copy every blob of the plan; the calling thread alone writes ledger and progress, every `update_interval` blobs.

    A blob that fails is recorded, and the rest goes on. However this ends, what was settled is written down, that of
    blobs which were under way included.

    Args:
        on_settled: called, in this thread, after each blob.

    Raises:
        HostUnreachable: one blob after the other failed since a host could not be asked.
        RateLimited, FatalError: from a copy.
    """
    totals, streak = TransferTotals.of(plan), _Streak()
    settled: deque[BlobOutcome] = deque()
    unwritten = list(plan.found)

    def work(cid: Cid) -> None:
        settled.append(copy(cid))

    def write(*, is_last: bool = False) -> None:
        registry.record(token, totals.as_progress(is_last=is_last), unwritten)
        unwritten.clear()

    def take() -> BlobOutcome:
        outcome = settled.popleft()
        totals.count(outcome)
        unwritten.append(outcome)
        return outcome

    write()
    try:
        # an upload that is cut by a limit has used up as much of the limit as a whole one
        running = run_workers(plan.to_move, work, workers=workers, stop=stop, finish_on=(RateLimited,))
        with closing(running) as done:
            for _ in done:
                outcome = take()
                if len(unwritten) >= update_interval:
                    write()
                on_settled(totals, outcome)
                streak.add(outcome)
    finally:
        while settled:  # of blobs that were under way when it ended; the workers are at rest now
            take()
        write(is_last=True)
    return totals


class _Streak:
    """Failures in a row that are no blob's own."""

    def __init__(self) -> None:
        self._length = 0

    def add(self, outcome: BlobOutcome) -> None:
        """Raises HostUnreachable where there have been too many."""
        # an upload that a server fails is the server's fault; a download may be that of the one blob
        is_hosts = outcome.error_class == "transient" and (
            outcome.error_code == HostUnreachable.default_code or outcome.upload_s > 0
        )
        self._length = self._length + 1 if is_hosts else 0
        if self._length >= GONE_AFTER:
            raise HostUnreachable(
                f"{self._length} blobs in a row could not be moved; the last one: {outcome.error_text}",
                code=outcome.error_code,
                hint="when the host is well again, run the migration again; what has arrived stays",
            )


def utc_now() -> str:
    """The time, as `progress_data` has it: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
