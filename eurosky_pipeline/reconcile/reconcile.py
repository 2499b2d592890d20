"""Ask the destination what it misses, try each of those once more, ask again, and name every blob.

`listMissingBlobs` is asked since the counts of `checkAccountStatus` can agree while blobs are missing; and the ledger
is read beside it, since some servers leave out of that list what only legacy references name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from eurosky_pipeline.artifacts.workspace import PARTIAL_SUFFIX
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import PermanentError, TransientError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import AccountStatus, check_account_status, list_missing_blobs

NAMES_SHOWN = 20
NO_VERDICT: dict[str, None] = dict.fromkeys(
    f"reconciliation_{key}"
    for key in ("status", "expected_blobs", "imported_blobs", "missing_count", "recovered", "still_missing")
)
"""What `progress_data` says of a verdict, taken back: a transfer that begins anew makes the last one untrue."""


class Verdict(StrEnum):
    """What is true of a blob at the end; each has exactly one."""

    MATCHED = "matched"
    MISSING_AT_SOURCE = "missing_at_source"
    MISSING_AT_DESTINATION = "missing_at_destination"
    DIFFERING = "differing"
    ERROR = "error"


class Status(StrEnum):
    """The verdict on the whole, as `reconciliation_status` has it."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BlobVerdict:
    """One row of the report; `reason` is empty for a matched blob."""

    blob_cid: Cid
    verdict: Verdict
    reason: str
    size_bytes: int
    first_record: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The report. `missing_count` were missing at first, `recovered` of them arrived, `still_missing` did not.

    `expected_blobs` and `imported_blobs` are the destination's own counts, None if it did not tell; they prove nothing.
    """

    status: Status
    verdicts: tuple[BlobVerdict, ...]
    missing_count: int
    recovered: int
    still_missing: int
    expected_blobs: int | None
    imported_blobs: int | None
    retried: tuple[BlobOutcome, ...]
    error: str = ""

    def count(self, verdict: Verdict) -> int:
        return sum(row.verdict is verdict for row in self.verdicts)

    def as_progress(self) -> dict[str, object]:
        """The keys of `progress_data` that this knows."""
        return {
            "reconciliation_status": str(self.status),
            "reconciliation_expected_blobs": self.expected_blobs,
            "reconciliation_imported_blobs": self.imported_blobs,
            "reconciliation_missing_count": self.missing_count,
            "reconciliation_recovered": self.recovered,
            "reconciliation_still_missing": self.still_missing,
            "failed_blobs": [str(row.blob_cid) for row in self.verdicts if row.verdict is not Verdict.MATCHED],
        }


def reconcile(
    destination: XrpcClient,
    manifest: Iterable[ManifestRow],
    ledger: Iterable[BlobOutcome],
    copy_again: Callable[[list[Cid]], list[BlobOutcome]],
) -> Reconciliation:
    """Judge every blob of the manifest, and every one that the destination misses.

    Best effort: where the destination cannot be asked, the report says so (`Status.ERROR`) and names what the
    ledger knows; only a FatalError (a session refused, say) is raised.

    Args:
        manifest: the rows of the table that `transfer.manifest` makes.
        ledger: what the transfer recorded; may lack blobs.
        copy_again: transfers these blobs once more, and says what became of each.
    """
    outcomes = {outcome.blob_cid: outcome for outcome in ledger}
    retried: list[BlobOutcome] = []
    missing_before: set[Cid] = set()
    missing_after: set[Cid] = set()
    account: AccountStatus | None = None
    error = ""
    try:
        missing_before = missing_after = {row.blob_cid for row in list_missing_blobs(destination)}
        if missing_before:
            retried = copy_again(sorted(missing_before))
            outcomes |= {outcome.blob_cid: outcome for outcome in retried}
            missing_after = {row.blob_cid for row in list_missing_blobs(destination)}
        account = check_account_status(destination)
    except (PermanentError, TransientError) as problem:
        error = problem.with_hint()

    rows = {row.blob_cid: row for row in manifest}
    verdicts = tuple(
        _judge(cid, rows.get(cid), outcomes.get(cid), is_missing=cid in missing_after, is_asked=not error)
        for cid in sorted(rows.keys() | missing_after, key=str)
    )
    return Reconciliation(
        status=_status(verdicts, error),
        verdicts=verdicts,
        missing_count=len(missing_before),
        recovered=len(missing_before - missing_after),
        still_missing=len(missing_after),
        expected_blobs=account.expected_blobs if account else None,
        imported_blobs=account.imported_blobs if account else None,
        retried=tuple(retried),
        error=error,
    )


def write_report(result: Reconciliation, path: Path) -> None:
    """The report as a CSV table, one row a blob, atomically."""
    import pandas as pd

    table = pd.DataFrame(
        [(str(v.blob_cid), str(v.verdict), v.reason, v.size_bytes, v.first_record) for v in result.verdicts],
        columns=["blob_cid", "verdict", "reason", "size_bytes", "first_record"],
    )
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    table.to_csv(partial, index=False)
    partial.replace(path)


def _judge(
    cid: Cid, row: ManifestRow | None, outcome: BlobOutcome | None, *, is_missing: bool, is_asked: bool
) -> BlobVerdict:
    """`row` is None for a blob that only the destination names."""
    row = row or ManifestRow(cid)
    is_counted_by_destination = row.is_referenced and not row.is_legacy
    arrived = outcome is not None and outcome.is_transferred
    verdict, reason = Verdict.MATCHED, ""
    if is_missing or not (arrived or (is_asked and is_counted_by_destination)):
        verdict, reason = _what_went_wrong(outcome, is_missing=is_missing, is_asked=is_asked)
    return BlobVerdict(
        cid,
        verdict,
        reason,
        size_bytes=outcome.size_bytes if outcome and arrived else row.size_bytes or 0,
        first_record=row.first_record or "",
    )


def _what_went_wrong(outcome: BlobOutcome | None, *, is_missing: bool, is_asked: bool) -> tuple[Verdict, str]:
    if outcome is None:
        if is_missing:
            return Verdict.MISSING_AT_DESTINATION, "the destination misses it, and nothing is recorded about it"
        return Verdict.ERROR, "nothing is recorded about it" + (
            "" if is_asked else ", and the destination was not asked"
        )
    if outcome.outcome is Outcome.MISSING_AT_SOURCE:
        return Verdict.MISSING_AT_SOURCE, outcome.error_text
    if outcome.outcome is Outcome.CORRUPT_AT_SOURCE:
        return Verdict.DIFFERING, outcome.error_text
    if outcome.is_transferred:
        return Verdict.MISSING_AT_DESTINATION, "the destination accepted it, and lists it as missing"
    return (Verdict.MISSING_AT_DESTINATION if is_missing else Verdict.ERROR), outcome.error_text


def _status(verdicts: tuple[BlobVerdict, ...], error: str) -> Status:
    if error:
        return Status.ERROR
    if not verdicts:
        return Status.SKIPPED
    return Status.COMPLETE if all(v.verdict is Verdict.MATCHED for v in verdicts) else Status.PARTIAL
