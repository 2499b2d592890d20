"""Figures that people ask for, made of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from eurosky_pipeline.analytics.absent import UNKNOWN, absent, missed
from eurosky_pipeline.analytics.frames import attempts, migrations, progress
from eurosky_pipeline.analytics.reading import opened
from eurosky_pipeline.analytics.which import Which, is_among
from eurosky_pipeline.registry import tables
from eurosky_pipeline.registry.ledger import ARRIVED, Outcome
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of a whole.

    Attributes:
        share: between 0 and 1; None of nothing.
    """

    part: int
    whole: int

    @property
    def share(self) -> float | None:
        return self.part / self.whole if self.whole else None


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """How long a migration's blobs will take, going on as they went lately.

    Attributes:
        blobs_left: that have no outcome yet.
        blobs_per_s: lately.
        seconds: None where nothing moved lately, so that nobody can tell; 0 where nothing is left.
    """

    blobs_left: int
    blobs_per_s: float
    seconds: float | None

    @property
    def ends_at(self) -> datetime | None:
        return None if self.seconds is None else datetime.now(UTC) + timedelta(seconds=self.seconds)


def success_rate(which: Which = None, *, settings: Settings | None = None) -> Rate:
    """Of the blobs that were settled, those that are at the destination; what the reconciliation has missed is not."""
    outcome = tables.blobs.c.outcome
    query = select(func.sum(case((outcome.in_(list(ARRIVED)), 1), else_=0)), func.count())
    query = query.where(*is_among(tables.blobs.c.token, which))
    with opened(settings) as engine, engine.connect() as connection:
        found = missed(which, engine.dialect.name).subquery()
        is_unknown = case((found.c.outcome == UNKNOWN, 1), else_=0)
        counts = [select(count).select_from(found).scalar_subquery() for count in (func.count(), func.sum(is_unknown))]
        row = connection.execute(query.add_columns(*counts)).one()
    arrived, settled, absent_after_all, unknown = (int(count or 0) for count in row)
    return Rate(arrived - (absent_after_all - unknown), settled + unknown)


def throughput(which: Which = None, *, settings: Settings | None = None) -> pd.DataFrame:
    """By migration, what was transferred and how fast.

    Columns: `blobs`, `size_bytes`, `span_s`, `blobs_per_s`, `bytes_per_s`; the index is the token. `span_s` is the time
    in which blobs arrived, from the beginning of the first that did to the end of the last, pauses between runs
    included. What is tried in vain after that, as a corrupt blob is for many seconds, is no part of it.
    """
    import pandas as pd

    table = tables.blobs.c
    began, ended = func.min(table.started_at), func.max(table.ended_at)
    query = (
        select(
            table.token,
            func.count().label("blobs"),
            func.sum(table.size_bytes).label("size_bytes"),
            began.label("began"),
            ended.label("ended"),
        )
        .where(table.outcome == Outcome.TRANSFERRED)
        .group_by(table.token)
        .order_by(table.token)
    )
    query = query.where(*is_among(table.token, which))
    names = ["token", "blobs", "size_bytes", "began", "ended"]
    frame = pd.DataFrame.from_records(_rows(query, settings), columns=names, index="token")
    frame["size_bytes"] = frame["size_bytes"].astype("int64")
    span = pd.to_datetime(frame["ended"], utc=True) - pd.to_datetime(frame["began"], utc=True)
    frame["span_s"] = span.dt.total_seconds()
    measurable = frame["span_s"].where(frame["span_s"] > 0)
    frame["blobs_per_s"] = frame["blobs"] / measurable
    frame["bytes_per_s"] = frame["size_bytes"] / measurable
    return frame[["blobs", "size_bytes", "span_s", "blobs_per_s", "bytes_per_s"]]


def time_left(token: str, *, lately: str = "5min", settings: Settings | None = None) -> TimeLeft:
    """How long the rest of a migration's blobs will take, by the pace of its last minutes at work."""
    import pandas as pd

    total = migrations(token, settings=settings, columns=["blobs_total"])["blobs_total"]
    settled = progress(token, every="1s", settings=settings)
    done = int(settled["blobs_settled"].iloc[-1]) if len(settled) else 0
    left = max(0, (0 if total.empty or pd.isna(total.iloc[0]) else int(total.iloc[0])) - done)
    if not len(settled):
        return TimeLeft(left, 0.0, None if left else 0.0)
    window = pd.Timedelta(lately)
    recent = settled[settled["moment"] > settled["moment"].iloc[-1] - window]
    seconds = min(window.total_seconds(), (recent["moment"].iloc[-1] - recent["moment"].iloc[0]).total_seconds() + 1)
    pace = float(recent["blobs_per_s"].sum()) / seconds
    return TimeLeft(left, pace, 0.0 if not left else left / pace if pace else None)


def failures_by_class(which: Which = None, *, settings: Settings | None = None) -> pd.DataFrame:
    """Blobs that are not at the destination, by why not, the most frequent first.

    Columns: `outcome`, `error_class`, `error_code`, `blobs`, `size_bytes` (of those whose size is known), `example`
    (one of the error's texts). As in `not_arrived`, those count too that the reconciliation alone has missed.
    """
    import pandas as pd

    with opened(settings) as engine, engine.connect() as connection:
        table = absent(which, engine.dialect.name).c
        why = (table.outcome, table.error_class, table.error_code)
        query = (
            select(*why, func.count(), func.coalesce(func.sum(table.size_bytes), 0), func.min(table.error_text))
            .group_by(*why)
            .order_by(func.count().desc(), *why)
        )
        rows = [tuple(row) for row in connection.execute(query)]
    names = ["outcome", "error_class", "error_code", "blobs", "size_bytes", "example"]
    return pd.DataFrame.from_records(rows, columns=names).astype({"blobs": "int64", "size_bytes": "int64"})


def rate_limit_waits(which: Which = None, *, settings: Settings | None = None) -> pd.DataFrame:
    """The attempts that ended in a wait for a host: `token`, `number`, `error_code`, `began`, `waited_s`.

    `waited_s` lasts until the next attempt began, or until now for one that still waits. Shorter waits, within a run,
    are part of each blob's `download_s` and `upload_s`.
    """
    import pandas as pd

    found = attempts(which, settings=settings).sort_values(["token", "number"])
    next_start = found.groupby("token")["started_at"].shift(-1)
    is_wait = (found["ended_in"] == State.WAITING).fillna(value=False).astype(bool)
    waits = found[is_wait]
    until = next_start[is_wait].fillna(pd.Timestamp.now(tz="UTC"))
    frame = waits[["token", "number", "error_code"]].copy()
    frame["began"] = waits["ended_at"]
    frame["waited_s"] = (until - waits["ended_at"]).dt.total_seconds()
    return frame.reset_index(drop=True)


def _rows(query: Any, settings: Settings | None) -> list[tuple[Any, ...]]:
    with opened(settings) as engine, engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]
