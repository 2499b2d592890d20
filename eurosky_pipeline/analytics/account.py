"""One migration in figures: all that a person asks first, read once, for the terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.analytics.columns import BLOBS, chosen
from eurosky_pipeline.analytics.dagster_log import asset_timings
from eurosky_pipeline.analytics.facts import records
from eurosky_pipeline.analytics.frames import attempts, blob_chunks, migrations, progress, top_blobs
from eurosky_pipeline.analytics.intervals import readable_interval, transfer_took
from eurosky_pipeline.analytics.measures import (
    Rate,
    TimeLeft,
    failures_by_class,
    rate_limit_waits,
    success_rate,
    throughput,
    time_left,
)
from eurosky_pipeline.analytics.not_arrived import not_arrived
from eurosky_pipeline.analytics.reading import whole
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.words import human_duration

if TYPE_CHECKING:
    import pandas as pd

MOST_INTERVALS: Final = 2000
"""Of a report's throughput: of more nobody sees one, and to draw them takes minutes."""
SHOWN: Final = 20
"""Rows of each list of blobs."""
DRAWN: Final = 200_000
"""Blobs that the pictures are made of; of more, the first so many by CID, which is by chance."""
_FOR_PICTURES: Final = ("outcome", "size_bytes", "attempts", "started_at", "ended_at", "duration_s")
_CHUNK_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class AccountReport:
    """What became of one account's move.

    Attributes:
        migration: the row of `analytics.migrations`, as JSON has it.
        pace: `blobs_per_s`, `bytes_per_s` and `span_s` of the time in which blobs arrived; empty if none did.
        every: the interval of `progress`.
        failures: by why not.
        not_there: as `not_arrived`, at most `SHOWN` blobs.
        largest, slowest: at most `SHOWN` blobs each.
        waited_s: for hosts, between attempts.
        drawn: as many blobs as pictures are made of.
    """

    migration: dict[str, Any]
    rate: Rate
    left: TimeLeft
    pace: dict[str, float]
    attempts: pd.DataFrame
    timings: pd.DataFrame
    every: timedelta
    progress: pd.DataFrame
    failures: pd.DataFrame
    not_there: pd.DataFrame
    largest: pd.DataFrame
    slowest: pd.DataFrame
    waited_s: float
    drawn: pd.DataFrame

    @property
    def is_purged(self) -> bool:
        """Whether its ledger was deleted, and it has not been run since: nothing is known of single blobs."""
        return self.migration["purged_at"] is not None and not self.rate.whole

    @property
    def tried_s(self) -> float | None:
        """Seconds from the beginning of the first blob that was tried to the end of the last, whether they arrived or
        not; None where that is not known."""
        tried = self._tried
        span_s = float((tried["ended_at"].max() - tried["started_at"].min()).total_seconds())
        if not span_s > 0 or len(self.drawn) >= DRAWN:  # NaN of nothing
            return None
        return span_s

    @property
    def under_way(self) -> float | None:
        """Blobs under way at once, on average over that time; None where that is not known."""
        span_s = self.tried_s
        return None if span_s is None else float(self._tried["duration_s"].sum()) / span_s

    @property
    def _tried(self) -> pd.DataFrame:
        return self.drawn[self.drawn["attempts"] > 0]


def account_report(token: str, *, every: timedelta | None = None, settings: Settings | None = None) -> AccountReport:
    """Read all that there is of one migration.

    Args: every: the interval of the throughput; None: as long as suits the time that the transfer took.
    Raises: SettingsError: there is no such migration, or no registry; or `every` is no length of time.
    """
    row = migrations(token, settings=settings)
    if row.empty:
        raise SettingsError(
            f"there is no migration {token[:40]!r}",
            code="unknown_token",
            hint="`eurosky migrations list` shows them all",
        )
    took = transfer_took(token, settings=settings)
    every = readable_interval(took) if every is None else every
    if took > every * MOST_INTERVALS:
        raise SettingsError(
            f"the transfer took {human_duration(took.total_seconds())}, more than {MOST_INTERVALS:,} such intervals",
            code="interval_invalid",
            hint="ask for longer ones, or leave it out",
        )
    pace = throughput(token, settings=settings)
    pieces = blob_chunks(token, columns=_FOR_PICTURES, rows=_CHUNK_ROWS, settings=settings)
    return AccountReport(
        migration=records(row)[0],
        rate=success_rate(token, settings=settings),
        left=time_left(token, settings=settings),
        pace={} if pace.empty else {str(name): float(value) for name, value in pace.iloc[0].items()},
        attempts=attempts(token, settings=settings),
        timings=_timings(token, settings),
        every=every,
        progress=progress(token, every=every, settings=settings),
        failures=failures_by_class(token, settings=settings),
        not_there=not_arrived(token, limit=SHOWN, settings=settings),
        largest=top_blobs(token, "size_bytes", limit=SHOWN, settings=settings),
        slowest=top_blobs(token, "duration_s", limit=SHOWN, settings=settings),
        waited_s=float(rate_limit_waits(token, settings=settings)["waited_s"].sum()),
        drawn=whole(islice(pieces, DRAWN // _CHUNK_ROWS), chosen(BLOBS, _FOR_PICTURES)),
    )


def _timings(token: str, settings: Settings | None) -> pd.DataFrame:
    """The assets' times; without a row where Dagster has kept none (its history may have been deleted)."""
    from eurosky_pipeline.analytics.columns import ASSET_TIMINGS

    try:
        return asset_timings(token, settings=settings)
    except SettingsError:
        return whole([], ASSET_TIMINGS)
