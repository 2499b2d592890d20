"""One row a blob: what became of it. Written by the op's own thread, in one transaction with the progress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from eurosky_pipeline.atproto.cid import Cid, parse_cid
from eurosky_pipeline.registry.tables import blobs


class Outcome(StrEnum):
    """What became of a blob; each has exactly one."""

    TRANSFERRED = "transferred"
    MISSING_AT_SOURCE = "missing_at_source"
    TOO_LARGE = "too_large"
    TAKEN_DOWN = "taken_down"
    CORRUPT_AT_SOURCE = "corrupt_at_source"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BlobOutcome:
    """How the transfer of one blob ended. `duration_s` is wall time, download and upload together."""

    blob_cid: Cid
    outcome: Outcome
    size_bytes: int = 0
    mime_type: str = ""
    duration_s: float = 0.0
    error_code: str = ""
    error_text: str = ""

    @property
    def is_transferred(self) -> bool:
        return self.outcome is Outcome.TRANSFERRED


def write_outcomes(connection: Connection, token: str, outcomes: Iterable[BlobOutcome], now: datetime) -> None:
    """Put these rows in place of earlier ones for the same blobs, inside the caller's transaction."""
    for outcome in outcomes:
        cid = str(outcome.blob_cid)
        connection.execute(delete(blobs).where(blobs.c.token == token, blobs.c.blob_cid == cid))
        connection.execute(
            insert(blobs).values(
                token=token,
                blob_cid=cid,
                outcome=outcome.outcome,
                size_bytes=outcome.size_bytes,
                mime_type=outcome.mime_type,
                duration_s=outcome.duration_s,
                error_code=outcome.error_code or None,
                error_text=outcome.error_text or None,
                updated_at=now,
            )
        )


def read_outcomes(engine: Engine, token: str) -> list[BlobOutcome]:
    """Every row of one migration, by CID."""
    with engine.connect() as connection:
        rows = connection.execute(select(blobs).where(blobs.c.token == token).order_by(blobs.c.blob_cid))
        return [_outcome(dict(row)) for row in rows.mappings()]


def _outcome(row: dict[str, Any]) -> BlobOutcome:
    return BlobOutcome(
        blob_cid=parse_cid(row["blob_cid"]),
        outcome=Outcome(row["outcome"]),
        size_bytes=row["size_bytes"],
        mime_type=row["mime_type"],
        duration_s=row["duration_s"],
        error_code=row["error_code"] or "",
        error_text=row["error_text"] or "",
    )
