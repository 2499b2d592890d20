"""A list on its way into the registry: read, judged, looked up and offered batch by batch, each batch one transaction.

Ends anywhere without harm: the batches before are in, and the list can be handed in again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.entries import Entry, Judge
from eurosky_pipeline.intake.lookup import Found, Lookup
from eurosky_pipeline.intake.rows import Rejected, Row, RowRefused
from eurosky_pipeline.registry.intake import Offer, Taken, Verdict
from eurosky_pipeline.registry.migration import NewMigration, new_token

BATCH_ROWS: Final = 500
_DIGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some rows, one after another in the list.

    Attributes:
        rejected, warnings: by line; a warning is of a row that was taken.
    """

    added: int
    unchanged: int
    rejected: tuple[Rejected, ...]
    warnings: tuple[tuple[int, str], ...]

    @property
    def rows(self) -> int:
        return self.added + self.unchanged + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        verdict, token: of a row that was taken; None and empty for one that was rejected.
        warnings: of one that was taken, a sentence each.
    """

    line: int
    verdict: Verdict | None
    token: str
    rejected: Rejected | None = None
    warnings: tuple[str, ...] = ()


def take_in(
    rows: Iterable[Row | Rejected],
    judge: Judge,
    lookup: Lookup,
    put: Callable[[Sequence[Offer]], Sequence[Taken]],
    *,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[Batch]:
    """Take a list in.

    Args:
        put: offers to the registry, in one transaction; or only says what would become of them.
    """
    source, seen = iter(rows), Seen()
    while batch := list(islice(source, batch_rows)):
        yield _batch(settle(batch, judge, lookup, put, seen))


def settle(
    rows: Sequence[Row | Rejected],
    judge: Judge,
    lookup: Lookup,
    put: Callable[[Sequence[Offer]], Sequence[Taken]],
    seen: Seen,
    where: Callable[[int], str] = lambda line: f"on line {line}",
) -> list[Outcome]:
    """What becomes of some rows, in the order of their lines: judged, looked up, and offered all at once.

    Args:
        where: how a line is called where a later row is of the same account.
    """
    rejected, entries = _judged(rows, judge)
    looked_up = list(lookup.look_up(entries))
    rejected += [item for item in looked_up if isinstance(item, Rejected)]
    offers: list[tuple[Found, Offer]] = []
    for found in sorted((item for item in looked_up if isinstance(item, Found)), key=lambda item: item.entry.line):
        line, did = found.entry.line, found.entry.did or ""
        before = seen.line_of(did, line)
        if before != line:
            rejected.append(Rejected(line, f"{did[:80]} is {where(before)} already"))
            continue
        try:
            offers.append((found, _offer(found.entry)))
        except SettingsError as error:
            rejected.append(Rejected(line, error.message))
    verdicts = put([offer for _, offer in offers]) if offers else []
    outcomes = [Outcome(item.line, None, "", item) for item in rejected]
    for (found, offer), taken in zip(offers, verdicts, strict=True):
        line = found.entry.line
        if taken.verdict is Verdict.IN_THE_WAY:
            reason = f"{offer.new.did[:80]} is already migrating to elsewhere, {taken.token}"
            outcomes.append(Outcome(line, None, "", Rejected(line, reason)))
        else:
            outcomes.append(Outcome(line, taken.verdict, taken.token, warnings=found.warnings))
    return sorted(outcomes, key=lambda outcome: outcome.line)


def _batch(outcomes: Sequence[Outcome]) -> Batch:
    counts = Counter(outcome.verdict for outcome in outcomes)
    return Batch(
        added=counts[Verdict.ADDED],
        unchanged=counts[Verdict.UNCHANGED],
        rejected=tuple(outcome.rejected for outcome in outcomes if outcome.rejected is not None),
        warnings=tuple((outcome.line, text) for outcome in outcomes for text in outcome.warnings),
    )


def _judged(rows: Sequence[Row | Rejected], judge: Judge) -> tuple[list[Rejected], list[Entry]]:
    rejected: list[Rejected] = []
    entries: list[Entry] = []
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        try:
            entries.append(judge.entry(row))
        except RowRefused as error:
            rejected.append(Rejected(row.line, error.message))
    return rejected, entries


def _offer(entry: Entry) -> Offer:
    new = NewMigration(
        did=entry.did or "",
        source_pds=entry.source_pds,
        destination_pds=entry.destination_pds,
        handle=entry.handle,
        convert_legacy_blobs=entry.convert_legacy_blobs,
        is_active_destination_allowed=entry.is_active_destination_allowed,
    )
    return Offer(new_token(), new, entry.passwords)


class Seen:
    """On which line each DID was first: a hundred bytes a row, with a key of its own that no list can be made for."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._lines: dict[bytes, int] = {}

    def line_of(self, did: str, line: int) -> int:
        digest = hashlib.blake2b(did.encode(), key=self._key, digest_size=_DIGEST_BYTES).digest()
        return self._lines.setdefault(digest, line)
