"""The judgement on a migration: every blob and every record named, and what can still be had fetched once more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.reconcile.records import RecordComparison, RecordVerdict
from eurosky_pipeline.reconcile.search import BlobSearch
from eurosky_pipeline.reconcile.standing import require_standing
from eurosky_pipeline.reconcile.verdicts import Tally, Verdict, write_report
from eurosky_pipeline.xrpc.endpoints import AccountStatus
from eurosky_pipeline.xrpc.errors import RateLimited

NO_VERDICT: dict[str, None] = dict.fromkeys(
    f"reconciliation_{key}"
    for key in (
        *("status", "expected_blobs", "imported_blobs", "missing_count", "recovered", "still_missing", "error"),
        *(f"records_{verdict}" for verdict in RecordVerdict),
    )
)
"""What `progress_data` says of a verdict, taken back: a transfer that begins anew makes the last one untrue."""


class Status(StrEnum):
    """The verdict on the whole, as `reconciliation_status` has it."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The verdict on the whole.

    Attributes:
        tally: the blobs, counted, and the first few that are not matched.
        missing_count: blobs that were missing at first; `recovered` of them arrived, `still_missing` did not; None
            where the destination did not tell all, and `error` says why.
        rounds: how often what was missing was fetched again.
        vouched_for: matched blobs of which the destination did not tell, and that were seen to arrive.
        expected_blobs, imported_blobs: the destination's own counts, None if it did not tell; they prove nothing.
        rate_limit: what a host said that lets nobody wait for it within a run: a later run is going to know more.
    """

    status: Status
    tally: Tally
    records: RecordComparison
    missing_count: int | None
    recovered: int | None
    still_missing: int | None
    rounds: int
    vouched_for: int
    expected_blobs: int | None
    imported_blobs: int | None
    error: str = ""
    rate_limit: RateLimited | None = None

    def as_progress(self) -> dict[str, object]:
        """The keys of `progress_data` that this knows."""
        return {
            "reconciliation_status": str(self.status),
            "reconciliation_expected_blobs": self.expected_blobs,
            "reconciliation_imported_blobs": self.imported_blobs,
            "reconciliation_missing_count": self.missing_count,
            "reconciliation_recovered": self.recovered,
            "reconciliation_still_missing": self.still_missing,
            "reconciliation_error": self.error or None,
            "failed_blobs": [str(cid) for cid in self.tally.unmatched],
            **self.records.as_progress(),
        }


def reconcile(search: BlobSearch, root: Cid, records: RecordComparison, report: Path) -> Reconciliation:
    """Run the search for blobs, and write a verdict on each into `report`.

    Best effort: where a host does not tell, the result says so (`Status.ERROR`) and names what is known.

    Args:
        root: the imported repository's commit, at which the destination must stand, before and after.
        records: what the comparison of records has found.

    Raises:
        DestinationChangedError: the destination's repository is not the imported one; it would not miss its blobs.
        FatalError: session refused, disk full, asked to stop.
    """
    account: AccountStatus | None = None

    def look_at_account() -> None:
        nonlocal account
        account = require_standing(search.destination, search.did, root, retry=search.retry, stop=search.stop)

    search.best_effort(look_at_account)
    search.run()
    if not search.error:
        search.best_effort(look_at_account)
    tally = write_report(search.verdicts(), report)
    error = search.error or records.error
    limits = [limit for limit in (search.rate_limit, records.rate_limit) if limit is not None]
    longest = max(limits, key=lambda limit: limit.retry_after_s or 0, default=None)
    missing_count = len(search.missing_before)
    return Reconciliation(
        status=_status(tally, records, error),
        tally=tally,
        records=records,
        missing_count=None if search.error else missing_count,
        recovered=None if search.error else search.recovered,
        still_missing=None if search.error else missing_count - search.recovered,
        rounds=search.rounds,
        vouched_for=search.vouched_for,
        expected_blobs=account.expected_blobs if account else None,
        imported_blobs=account.imported_blobs if account else None,
        error=error,
        rate_limit=longest if longest and (longest.retry_after_s or 0) > search.retry.max_wait_s else None,
    )


def _status(tally: Tally, records: RecordComparison, error: str) -> Status:
    if error:
        return Status.ERROR
    if records.has_lost or tally.counts[Verdict.MATCHED] < tally.blobs:
        return Status.PARTIAL
    return Status.COMPLETE if tally.blobs else Status.SKIPPED
