"""What is known on this side of a migration's blobs: the manifest and the ledger, read side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.manifest import ManifestRow

FINAL = frozenset({Outcome.MISSING_AT_SOURCE, Outcome.TAKEN_DOWN, Outcome.TOO_LARGE, Outcome.CORRUPT_AT_SOURCE})
"""What a second try within the same run would only say again."""

Pair = tuple[ManifestRow, BlobOutcome | None]


@dataclass(frozen=True, slots=True)
class Books:
    """What is known on this side, read anew at each call, both by the text of the CID, ascending.

    Attributes:
        since: when the run began: what it has found out need not be found out again. None: nothing is so new.
        imported_at: when the repository was imported; what the ledger saw arrive after that, it vouches for. None if
            that is not known.
    """

    manifest: Callable[[], Iterable[ManifestRow]]
    ledger: Callable[[], Iterable[BlobOutcome]]
    since: datetime | None = None
    imported_at: datetime | None = None

    def pairs(self) -> Iterator[Pair]:
        """Each row of the manifest, with what the ledger says of it; neither table is held in memory."""
        ledger = iter(self.ledger())
        entry = next(ledger, None)
        text = str(entry.blob_cid) if entry else ""
        for row in self.manifest():
            wanted = str(row.blob_cid)
            while entry is not None and text < wanted:
                entry = next(ledger, None)
                text = str(entry.blob_cid) if entry else ""
            yield row, entry if entry is not None and text == wanted else None

    def is_settled(self, outcome: BlobOutcome | None) -> bool:
        """Whether this run has found out already that the blob cannot be had."""
        return outcome is not None and outcome.outcome in FINAL and _is_after(outcome, self.since)

    def is_vouched_for(self, outcome: BlobOutcome | None) -> bool:
        return outcome is not None and outcome.is_there and _is_after(outcome, self.imported_at)


def _is_after(outcome: BlobOutcome, moment: datetime | None) -> bool:
    return moment is not None and outcome.ended_at is not None and outcome.ended_at >= moment
