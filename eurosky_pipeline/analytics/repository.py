"""An account's repository as a frame: a row a record, read from its CAR."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.analytics.columns import RECORDS, typed
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.repo import Record, open_repo

if TYPE_CHECKING:
    import pandas as pd

_EARLIEST: Final = datetime(2022, 1, 1, tzinfo=UTC)
_CHUNK_ROWS: Final = 50_000


def records(car: str | Path) -> pd.DataFrame:
    """One row a record, in the order of their keys; every block is hashed on the way.

    `columns.RECORDS` says what is in it. `created_at` is what the record says of itself, and missing where it says
    nothing that can be: before the protocol, or later than now, is a clock's fault or a joke.

    Raises: CarError, VarintError, MstError, RepoError: the file is no whole repository; `eurosky car verify` says more.
    """
    import pandas as pd

    from eurosky_pipeline.analytics.reading import whole

    parts: list[pd.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    names = [column.name for column in RECORDS]

    def put_away() -> None:
        parts.append(typed(pd.DataFrame.from_records(rows, columns=names), RECORDS))
        rows.clear()

    with open_repo(Path(car)) as repo:
        for record in repo.records():
            rows.append(_row(record, len(repo.block(record.cid))))
            if len(rows) == _CHUNK_ROWS:
                put_away()
    if rows:
        put_away()
    return whole(parts, RECORDS).reset_index(drop=True)


def _row(record: Record, size_bytes: int) -> tuple[Any, ...]:
    refs = list(find_blob_refs(record.value))
    legacy = sum(ref.is_legacy for ref in refs)
    return (
        record.collection,
        record.rkey,
        str(record.cid),
        _created_at(record.value),
        size_bytes,
        len(refs) - legacy,
        legacy,
        sum(ref.size_bytes or 0 for ref in refs),
    )


def _created_at(value: Mapping[str, Any]) -> datetime | None:
    said = value.get("createdAt")
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return None
    return moment if _EARLIEST <= moment <= datetime.now(UTC) else None
