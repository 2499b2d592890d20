"""What is true of each blob at the end, and the table that says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from eurosky_pipeline.artifacts.tables import written_csv
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow

COLUMNS = ("blob_cid", "verdict", "reason", "size_bytes", "first_record", "claimed_bytes")
NAMES_SHOWN = 20


class Verdict(StrEnum):
    """What is true of a blob at the end; each has exactly one."""

    MATCHED = "matched"
    MISSING_AT_SOURCE = "missing_at_source"
    MISSING_AT_DESTINATION = "missing_at_destination"
    DIFFERING = "differing"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BlobVerdict:
    """One row of the report.

    Attributes:
        reason: empty for a matched blob.
        size_bytes: as it was verified on its way, else as the destination announces it; None if neither is known.
        claimed_bytes: what the first record to name it says, None where that one says nothing.
    """

    blob_cid: Cid
    verdict: Verdict
    reason: str
    size_bytes: int | None
    first_record: str
    claimed_bytes: int | None

    @property
    def is_size_compared(self) -> bool:
        return self.size_bytes is not None and self.claimed_bytes is not None

    @property
    def is_size_other(self) -> bool:
        """Whether a record says of it what is not so."""
        return self.is_size_compared and self.size_bytes != self.claimed_bytes


@dataclass(slots=True)
class Tally:
    """The report, counted: `unmatched` are the CIDs of all that is not matched, the lists `…_shown` the first few."""

    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    unmatched: list[Cid] = field(default_factory=list)
    unmatched_shown: list[BlobVerdict] = field(default_factory=list)
    sizes_compared: int = 0
    sizes_other: int = 0
    sizes_shown: list[BlobVerdict] = field(default_factory=list)

    @property
    def blobs(self) -> int:
        return sum(self.counts.values())

    def add(self, row: BlobVerdict) -> None:
        self.counts[row.verdict] += 1
        if row.verdict is not Verdict.MATCHED:
            self.unmatched.append(row.blob_cid)
            if len(self.unmatched_shown) < NAMES_SHOWN:
                self.unmatched_shown.append(row)
        self.sizes_compared += row.is_size_compared
        if row.is_size_other:
            self.sizes_other += 1
            if len(self.sizes_shown) < NAMES_SHOWN:
                self.sizes_shown.append(row)


def judge(
    row: ManifestRow,
    outcome: BlobOutcome | None,
    *,
    is_there: bool | None,
    announced_bytes: int | None = None,
    is_ledger_enough: bool = True,
) -> BlobVerdict:
    """A blob is matched if the destination gives it out. Where it does not tell (`is_there` is None), the ledger has
    to have seen it arrive.

    Args:
        outcome: what the ledger says of it, None if nothing.
        announced_bytes: its size by the destination, if it told.
        is_ledger_enough: False where the destination did not even say what it misses.
    """
    arrived = outcome is not None and outcome.is_there
    sent_bytes = outcome.size_bytes if outcome and outcome.outcome is Outcome.TRANSFERRED else None
    verdict, reason = Verdict.MATCHED, ""
    if is_there and None not in (sent_bytes, announced_bytes) and sent_bytes != announced_bytes:
        verdict = Verdict.DIFFERING
        reason = f"{sent_bytes} bytes were sent, and the destination gives out {announced_bytes}"
    elif not is_there and not (is_there is None and arrived and is_ledger_enough):
        verdict, reason = _what_went_wrong(row, outcome, is_there=is_there)
    return BlobVerdict(
        row.blob_cid,
        verdict,
        reason,
        size_bytes=announced_bytes if sent_bytes is None else sent_bytes,
        first_record=row.first_record or "",
        claimed_bytes=row.size_bytes,
    )


def write_report(verdicts: Iterable[BlobVerdict], path: Path) -> Tally:
    """Write the verdicts as a CSV table, one row a blob, atomically, as they come; and count them.

    Raises: FatalError for a full disk.
    """
    tally = Tally()
    with written_csv(path, COLUMNS) as write:
        for row in verdicts:
            write([getattr(row, name) for name in COLUMNS])
            tally.add(row)
    return tally


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
