"""Ask the destination for every blob, try what it misses once more, ask again, and name every blob.

No list and no count decides: the counts of `checkAccountStatus` can agree while blobs are missing, and
`listMissingBlobs` leaves out what was uploaded too early, or what only legacy references name. It adds to the blobs
that are looked for, and no more.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from eurosky_pipeline.artifacts.workspace import PARTIAL_SUFFIX
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import FatalError, PermanentError, TransientError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.transfer.presence import look_for_blobs
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import AccountStatus, check_account_status, list_missing_blobs

NAMES_SHOWN = 20
NO_VERDICT: dict[str, None] = dict.fromkeys(
    f"reconciliation_{key}"
    for key in ("status", "expected_blobs", "imported_blobs", "missing_count", "recovered", "still_missing", "error")
)
"""What `progress_data` says of a verdict, taken back: a transfer that begins anew makes the last one untrue."""


class DestinationChangedError(FatalError):
    """The destination's repository is not the one that was imported."""

    default_code = "destination_changed"


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
    """The report. `missing_count` were missing at first, `recovered` of them arrived, `still_missing` did not; None
    where the destination did not tell, and `error` says why.

    `expected_blobs` and `imported_blobs` are the destination's own counts, None if it did not tell; they prove nothing.
    """

    status: Status
    verdicts: tuple[BlobVerdict, ...]
    missing_count: int | None
    recovered: int | None
    still_missing: int | None
    expected_blobs: int | None
    imported_blobs: int | None
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
            "reconciliation_error": self.error or None,
            "failed_blobs": [str(row.blob_cid) for row in self.verdicts if row.verdict is not Verdict.MATCHED],
        }


def reconcile(
    destination: XrpcClient,
    did: str,
    root: Cid,
    manifest: Iterable[ManifestRow],
    ledger: Iterable[BlobOutcome],
    copy_again: Callable[[list[Cid]], list[BlobOutcome]],
    *,
    workers: int,
    stop: threading.Event,
) -> Reconciliation:
    """Judge every blob of the manifest, and every one that the destination misses.

    Best effort: where the destination does not tell what it misses, the report says so (`Status.ERROR`) and names what
    is known; only a FatalError (a session refused, say) is raised.

    Args:
        root: the imported repository's commit, at which the destination must still stand.
        manifest: the rows of the table that `transfer.manifest` makes.
        ledger: what the transfer recorded; may lack blobs.
        copy_again: transfers these blobs once more, and says what became of each.

    Raises:
        DestinationChangedError: the destination's repository is not the imported one; it would not miss its blobs.
    """
    rows = {row.blob_cid: row for row in manifest}
    outcomes = {outcome.blob_cid: outcome for outcome in ledger}
    look = partial(look_for_blobs, destination, did, workers=workers, stop=stop)
    account: AccountStatus | None = None
    listed: set[Cid] = set()
    seen: dict[Cid, bool | None] = {}
    missing_before: set[Cid] = set()
    error = ""
    try:
        account = _account_at(destination, did, root)
        listed = {row.blob_cid for row in list_missing_blobs(destination)}
        seen = look(rows.keys() | listed)
        missing_before = {cid for cid, is_there in seen.items() if is_there is False} | listed
        if missing_before:
            outcomes |= {outcome.blob_cid: outcome for outcome in copy_again(sorted(missing_before))}
            seen |= look(missing_before)
            listed = {row.blob_cid for row in list_missing_blobs(destination)}
            account = _account_at(destination, did, root)
    except (PermanentError, TransientError) as problem:
        error = problem.with_hint()
    verdicts = tuple(
        _judge(
            rows.get(cid) or ManifestRow(cid),
            outcomes.get(cid),
            is_there=False if cid in listed else seen.get(cid),
            is_asked=not error,
        )
        for cid in sorted(rows.keys() | listed, key=str)
    )
    matched = {row.blob_cid for row in verdicts if row.verdict is Verdict.MATCHED}
    return Reconciliation(
        status=_status(verdicts, error),
        verdicts=verdicts,
        missing_count=None if error else len(missing_before),
        recovered=None if error else len(missing_before & matched),
        still_missing=None if error else len(missing_before - matched),
        expected_blobs=account.expected_blobs if account else None,
        imported_blobs=account.imported_blobs if account else None,
        error=error,
    )


def write_report(result: Reconciliation, path: Path) -> None:
    """The report as a CSV table, one row a blob, atomically."""
    import pandas as pd

    table = pd.DataFrame(
        [(str(v.blob_cid), str(v.verdict), v.reason, v.size_bytes, v.first_record) for v in result.verdicts],
        columns=["blob_cid", "verdict", "reason", "size_bytes", "first_record"],
    )
    unfinished = path.with_name(path.name + PARTIAL_SUFFIX)
    table.to_csv(unfinished, index=False, quoting=csv.QUOTE_ALL)
    unfinished.replace(path)


def _account_at(destination: XrpcClient, did: str, root: Cid) -> AccountStatus:
    """The destination's account, which must stand at `root` as long as nobody can write there."""
    account = check_account_status(destination)
    if not account.is_activated and account.repo_commit != root:
        raise DestinationChangedError(
            f"{did} on {destination.host} does not stand at the imported repository (any more)",
            hint="materialize imported_repo and what comes after it again",
        )
    return account


def _judge(row: ManifestRow, outcome: BlobOutcome | None, *, is_there: bool | None, is_asked: bool) -> BlobVerdict:
    """A blob is matched if the destination gives it out. Where it does not tell (`is_there` is None), the ledger has
    to have seen it arrive, and the destination must at least not have listed it as missing."""
    arrived = outcome is not None and outcome.is_there
    verdict, reason = Verdict.MATCHED, ""
    if not is_there and not (is_there is None and arrived and is_asked):
        verdict, reason = _what_went_wrong(row, outcome, is_there=is_there)
    return BlobVerdict(
        row.blob_cid,
        verdict,
        reason,
        size_bytes=outcome.size_bytes if outcome and arrived else row.size_bytes or 0,
        first_record=row.first_record or "",
    )


def _what_went_wrong(row: ManifestRow, outcome: BlobOutcome | None, *, is_there: bool | None) -> tuple[Verdict, str]:
    unsure = Verdict.ERROR if is_there is None else Verdict.MISSING_AT_DESTINATION
    if outcome is None:
        return unsure, "nothing is recorded about it"
    if outcome.outcome is Outcome.MISSING_AT_SOURCE:
        return Verdict.MISSING_AT_SOURCE, outcome.error_text
    if outcome.outcome is Outcome.CORRUPT_AT_SOURCE:
        return Verdict.DIFFERING, outcome.error_text
    if not outcome.is_there:
        return unsure, outcome.error_text
    if is_there is None:
        return unsure, "it was sent, and the destination does not tell whether it has it"
    if not row.is_referenced:
        return unsure, "no record of the imported repository references it, so the destination does not keep it"
    return unsure, "the destination accepted it, and does not give it out"


def _status(verdicts: tuple[BlobVerdict, ...], error: str) -> Status:
    if error:
        return Status.ERROR
    if not verdicts:
        return Status.SKIPPED
    return Status.COMPLETE if all(v.verdict is Verdict.MATCHED for v in verdicts) else Status.PARTIAL
