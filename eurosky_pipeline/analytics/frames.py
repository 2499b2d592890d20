"""What the registry knows, as frames; `columns` says what is in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import BigInteger, ColumnElement, Engine, Select, literal, select, tuple_
from sqlalchemy import cast as sql_cast

from eurosky_pipeline.analytics.columns import ATTEMPTS, BLOBS, MIGRATIONS, PROGRESS, Column, chosen, typed
from eurosky_pipeline.analytics.reading import CHUNK_ROWS, opened, rows_of, whole
from eurosky_pipeline.analytics.which import Which, is_among
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry import tables
from eurosky_pipeline.registry.ledger import ARRIVED, Outcome
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_COUNTS: Final = ("blobs_total", "blobs_completed", "bytes_transferred")
_TEXTS: Final = ("reconciliation_status", "blobs_started_at", "blobs_completed_at")
_SPAN: Final = ("started_at", "ended_at")
_EMPTY_IS_MISSING: Final = ("error_class", "error_code", "error_text", "mime_type")


def migrations(
    which: Which = None, *, columns: Sequence[str] | None = None, settings: Settings | None = None
) -> pd.DataFrame:
    """One row a migration, the one registered first at the top.

    Args:
        which: a token, a `Wanted`, or None for all.
        columns: of `columns.MIGRATIONS`; None for all.
        settings: None for those of the environment.

    Raises: SettingsError: there is no registry (code `nothing_yet`), it cannot be opened, or there is no such column.
    """
    table, wanted = tables.migrations, chosen(MIGRATIONS, columns)
    query = select(*(_of_migration(column.name) for column in wanted)).order_by(table.c.created_at, table.c.token)
    with opened(settings) as engine, engine.connect() as connection:
        return rows_of(connection, query.where(*is_among(table.c.token, which)), wanted)


def attempts(which: Which = None, *, settings: Settings | None = None) -> pd.DataFrame:
    """One row for each run that has worked on one of these migrations. Raises as `migrations`."""
    table = tables.attempts
    query = select(
        table.c.token,
        table.c.number,
        table.c.holder.label("run_id"),
        *(table.c[name] for name in ("started_at", "started_in", "ended_at", "ended_in", "error_code", "error_text")),
    ).order_by(table.c.started_at, table.c.token)
    with opened(settings) as engine, engine.connect() as connection:
        return _with_duration(rows_of(connection, query.where(*is_among(table.c.token, which)), ATTEMPTS))


def blobs(
    which: Which = None,
    *,
    outcomes: Collection[Outcome] = (),
    min_size_bytes: int = 0,
    columns: Sequence[str] | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame:
    """One row a blob: the ledger of these migrations, by token and CID.

    All of it in one frame: with few columns a million rows are some ten megabytes, with all of them half a gigabyte;
    `blob_chunks` never holds more than a piece. Arguments and errors are its own.
    """
    parts = blob_chunks(which, outcomes=outcomes, min_size_bytes=min_size_bytes, columns=columns, settings=settings)
    return whole(parts, chosen(BLOBS, columns))


def blob_chunks(
    which: Which = None,
    *,
    outcomes: Collection[Outcome] = (),
    min_size_bytes: int = 0,
    columns: Sequence[str] | None = None,
    rows: int = CHUNK_ROWS,
    settings: Settings | None = None,
) -> Iterator[pd.DataFrame]:
    """The same in pieces of at most `rows` rows, none if there is no row.

    Each piece is read by itself, and nothing is held between two of them: what is written meanwhile may come later.

    Args:
        which: a token, a `Wanted`, or None for all.
        outcomes: only blobs with one of them.
        min_size_bytes: only blobs that are at least so large.
        columns: of `columns.BLOBS`; None for all.

    Raises: SettingsError as `migrations`.
    """
    wanted = chosen(BLOBS, columns)
    conditions = [tables.blobs.c.size_bytes >= min_size_bytes] if min_size_bytes else []
    conditions += is_among(tables.blobs.c.token, which)
    if outcomes:
        conditions.append(tables.blobs.c.outcome.in_(list(outcomes)))
    with opened(settings) as engine:
        yield from _pages(engine, _select_blobs(wanted, conditions), wanted, rows)


def top_blobs(
    token: str,
    by: str,
    *,
    limit: int = 20,
    outcomes: Collection[Outcome] = (),
    settings: Settings | None = None,
) -> pd.DataFrame:
    """The blobs of one migration that have most of something: `size_bytes`, `duration_s`, `attempts` or `bytes_moved`.

    How long one took is judged by its downloads and uploads.

    Raises: SettingsError as `migrations`.
    """
    table = tables.blobs.c
    measures: dict[str, ColumnElement[Any]] = {
        "size_bytes": table.size_bytes,
        "attempts": table.attempts,
        "bytes_moved": table.bytes_moved,
        "duration_s": table.download_s + table.upload_s,
    }
    chosen(BLOBS, [by])
    query = _select_blobs(BLOBS, [table.token == token]).order_by(None)
    if outcomes:
        query = query.where(table.outcome.in_(list(outcomes)))
    with opened(settings) as engine, engine.connect() as connection:
        found = connection.execute(query.order_by(measures[by].desc(), table.blob_cid).limit(limit))
        return _ledger_frame([tuple(row) for row in found], list(found.keys()), BLOBS)


def progress(which: Which, *, every: str | timedelta = "10s", settings: Settings | None = None) -> pd.DataFrame:
    """How the blobs of these migrations were settled over time: one row for each interval in which any was.

    Args: every: the length of an interval, as pandas writes it.
    Raises: SettingsError as `migrations`; or `every` is no length of time.
    """
    import pandas as pd

    length = _length(every)
    sums: pd.DataFrame | None = None
    for chunk in blob_chunks(which, columns=["outcome", "size_bytes", "ended_at"], settings=settings):
        settled = chunk[chunk["ended_at"].notna()]
        is_sent = settled["outcome"] == Outcome.TRANSFERRED
        counted = pd.DataFrame(
            {
                "moment": settled["ended_at"].dt.floor(length) + length,
                "blobs": 1,
                "failed": (~settled["outcome"].isin(list(ARRIVED))).astype("int64"),
                "bytes": settled["size_bytes"].where(is_sent, 0).astype("int64"),
            }
        )
        part = counted.groupby("moment").sum()
        sums = part if sums is None else sums.add(part, fill_value=0)
    if sums is None or sums.empty:
        return typed(pd.DataFrame(), PROGRESS)
    ordered = sums.sort_index()
    seconds = length.total_seconds()
    frame = pd.DataFrame(
        {
            "moment": ordered.index,
            "blobs_settled": ordered["blobs"].cumsum().to_numpy(),
            "blobs_failed": ordered["failed"].cumsum().to_numpy(),
            "bytes_sent": ordered["bytes"].cumsum().to_numpy(),
            "blobs_per_s": ordered["blobs"].to_numpy() / seconds,
            "bytes_per_s": ordered["bytes"].to_numpy() / seconds,
        }
    )
    return typed(frame, PROGRESS)


def _of_migration(name: str) -> ColumnElement[Any]:
    data = tables.migrations.c.progress_data
    if name in _COUNTS:
        return sql_cast(data[name].as_string(), BigInteger).label(name)
    if name in _TEXTS:
        return cast("ColumnElement[Any]", data[name].as_string().label(name))
    return tables.migrations.c[name]


def _select_blobs(wanted: Sequence[Column], conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """What the columns need, and the place of each row in the order."""
    names = {column.name for column in wanted} | {"token", "blob_cid"}
    if "duration_s" in names:
        names = (names - {"duration_s"}) | set(_SPAN)
    table = tables.blobs
    ordered = select(*(table.c[name] for name in sorted(names))).order_by(table.c.token, table.c.blob_cid)
    return ordered.where(*conditions)


def _pages(engine: Engine, query: Select[Any], wanted: Sequence[Column], rows: int) -> Iterator[pd.DataFrame]:
    table, start, place = tables.blobs, 0, None
    while True:
        page = query.limit(rows)
        if place is not None:  # as a pair, since both databases go to it by the index; two conditions they read up to
            page = page.where(tuple_(table.c.token, table.c.blob_cid) > tuple_(*map(literal, place)))
        with engine.connect() as connection:
            result = connection.execute(page)
            found, names = [tuple(row) for row in result], list(result.keys())
        if not found:
            return
        last = dict(zip(names, found[-1], strict=True))
        place = last["token"], last["blob_cid"]
        yield _ledger_frame(found, names, wanted, start)
        start += len(found)
        if len(found) < rows:
            return


def _ledger_frame(
    rows: list[tuple[Any, ...]], names: list[str], wanted: Sequence[Column], start: int = 0
) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame.from_records(rows, columns=names, index=pd.RangeIndex(start, start + len(rows)))
    for name in set(_EMPTY_IS_MISSING) & set(names):
        frame[name] = frame[name].mask(frame[name] == "")
    return typed(_with_duration(frame), wanted)


def _with_duration(frame: pd.DataFrame) -> pd.DataFrame:
    """`duration_s`, where both ends of the span are there to know it."""
    import pandas as pd

    if set(_SPAN) <= set(frame.columns):
        began, ended = (pd.to_datetime(frame[name], utc=True) for name in _SPAN)
        frame["duration_s"] = (ended - began).dt.total_seconds().astype("Float64")
    return frame


def _length(every: str | timedelta) -> pd.Timedelta:
    import pandas as pd

    try:
        length = pd.Timedelta(every)
    except ValueError:
        length = pd.Timedelta(0)
    if not length >= pd.Timedelta(seconds=1):  # a number without a unit would be nanoseconds
        raise SettingsError(
            f"{str(every)[:40]!r} is no length of time",
            code="interval_invalid",
            hint="a second or longer, like 10s, 5min or 1h",
        )
    return length
