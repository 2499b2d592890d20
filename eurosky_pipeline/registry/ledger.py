"""One row a blob: what became of it. Written by the op's own thread, in one transaction with the progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, Select, delete, insert, select

from eurosky_pipeline.atproto.cid import Cid, parse_cid
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.tables import blobs

_BATCH_ROWS: Final = 500


class Outcome(StrEnum):
    """What became of a blob; each has exactly one."""

    TRANSFERRED = "transferred"
    ALREADY_THERE = "already_there"
    MISSING_AT_SOURCE = "missing_at_source"
    TOO_LARGE = "too_large"
    TAKEN_DOWN = "taken_down"
    CORRUPT_AT_SOURCE = "corrupt_at_source"
    FAILED = "failed"


ARRIVED = frozenset({Outcome.TRANSFERRED, Outcome.ALREADY_THERE})
"""The destination has the blob."""


@dataclass(frozen=True, slots=True)
class BlobOutcome:
    """How the transfer of one blob ended: a row of the ledger.

    Attributes:
        size_bytes, mime_type: as they were verified and sent; of a blob that was there before, what records claim.
        attempts: tries to download or to upload it, the first ones included; 0 if nothing was tried.
        bytes_moved: that came from the source or went to the destination, in all attempts.
        download_s, upload_s: wall time of all attempts, the waiting between them included.
        error_class: where in the error tree the last error belongs: `transient`, `permanent`, `integrity`; empty for
            a blob that arrived, as `error_code` and `error_text` are.
        started_at, ended_at: UTC; None where nothing was tried.
    """

    blob_cid: Cid
    outcome: Outcome
    size_bytes: int = 0
    mime_type: str = ""
    attempts: int = 0
    bytes_moved: int = 0
    download_s: float = 0.0
    upload_s: float = 0.0
    error_class: str = ""
    error_code: str = ""
    error_text: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_there(self) -> bool:
        """Whether the destination has it."""
        return self.outcome in ARRIVED


def already_there(blob_cid: Cid, size_bytes: int | None, mime_type: str | None) -> BlobOutcome:
    """The outcome, now, of a blob that the destination was seen to have; the size and type are what is known."""
    now = datetime.now(UTC)
    return BlobOutcome(blob_cid, Outcome.ALREADY_THERE, size_bytes or 0, mime_type or "", started_at=now, ended_at=now)


def write_outcomes(connection: Connection, token: str, outcomes: Iterable[BlobOutcome], now: datetime) -> None:
    """Put these rows in place of earlier ones for the same blobs, inside the caller's transaction."""
    rows = [_row(token, outcome, now) for outcome in {outcome.blob_cid: outcome for outcome in outcomes}.values()]
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        cids = [row["blob_cid"] for row in batch]
        connection.execute(delete(blobs).where(blobs.c.token == token, blobs.c.blob_cid.in_(cids)))
        connection.execute(insert(blobs), batch)


def read_outcomes(engine: Engine, token: str) -> Iterator[BlobOutcome]:
    """Every row of one migration, by CID: page by page, so that neither memory nor a connection is held."""
    query, last = select(blobs).where(blobs.c.token == token).order_by(blobs.c.blob_cid).limit(_BATCH_ROWS), ""
    while True:
        rows = _page(engine, query.where(blobs.c.blob_cid > last))
        if not rows:
            return
        yield from (_outcome(dict(row)) for row in rows)
        last = rows[-1]["blob_cid"]


def outcomes_of(connection: Connection, token: str, cids: Sequence[str]) -> dict[str, BlobOutcome]:
    """The rows of these blobs, some hundred at most; those that the ledger has."""
    query = select(blobs).where(blobs.c.token == token, blobs.c.blob_cid.in_(cids))
    return {row["blob_cid"]: _outcome(dict(row)) for row in connection.execute(query).mappings()}


@patient
def _page(engine: Engine, query: Select[Any]) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        return connection.execute(query).mappings().all()


def _row(token: str, outcome: BlobOutcome, now: datetime) -> dict[str, Any]:
    return {
        "token": token,
        **{field.name: getattr(outcome, field.name) for field in fields(outcome)},
        "blob_cid": str(outcome.blob_cid),
        "updated_at": now,
    }


def _outcome(row: dict[str, Any]) -> BlobOutcome:
    values = {field.name: row[field.name] for field in fields(BlobOutcome)}
    return BlobOutcome(**values | {"blob_cid": parse_cid(row["blob_cid"]), "outcome": Outcome(row["outcome"])})
