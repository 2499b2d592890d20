"""Many migrations in figures: counted by the database, so that thousands cost little more than one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select

from eurosky_pipeline.analytics.measures import Rate, failures_by_class, rate_limit_waits, success_rate, throughput
from eurosky_pipeline.analytics.reading import opened
from eurosky_pipeline.registry.queries import Wanted
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import migrations
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of a wanted.

    Attributes:
        states: migrations by state, in the order in which a migration goes through them; none with 0.
        hosts: a row a destination: `destination_pds`, `migrations`, `finished`, `failed`, `waiting`.
        errors: why migrations failed or wait, the most frequent first: `state`, `error_code`, `migrations`, `example`.
        failures: why blobs are not at the destination, as `failures_by_class`.
        pace: as `throughput`.
        waited_s: for hosts, between attempts, all migrations together.
    """

    states: dict[str, int]
    rate: Rate
    pace: pd.DataFrame
    hosts: pd.DataFrame
    errors: pd.DataFrame
    failures: pd.DataFrame
    waited_s: float

    @property
    def bytes_sent(self) -> int:
        return int(self.pace["size_bytes"].sum())

    @property
    def median_span_s(self) -> float | None:
        """From the first blob of a migration that arrived to the last, tries in vain before and after left out; half of
        the migrations took longer. None without any."""
        return None if self.pace.empty else float(self.pace["span_s"].median())

    @property
    def median_bytes_per_s(self) -> float | None:
        known = self.pace["bytes_per_s"].dropna()
        return None if known.empty else float(known.median())


def totals(wanted: Wanted = Wanted(), *, settings: Settings | None = None) -> Totals:  # noqa: B008
    """Count them. Raises SettingsError: there is no registry (code `nothing_yet`), or it cannot be opened."""
    counts = _states(wanted, settings)
    return Totals(
        states={str(state): counts[state] for state in State if state in counts},
        rate=success_rate(wanted, settings=settings),
        pace=throughput(wanted, settings=settings),
        hosts=_hosts(wanted, settings),
        errors=_errors(wanted, settings),
        failures=failures_by_class(wanted, settings=settings),
        waited_s=float(rate_limit_waits(wanted, settings=settings)["waited_s"].sum()),
    )


def _states(wanted: Wanted, settings: Settings | None) -> dict[str, int]:
    query = select(migrations.c.state, func.count()).where(*wanted.conditions()).group_by(migrations.c.state)
    with opened(settings) as engine, engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _hosts(wanted: Wanted, settings: Settings | None) -> pd.DataFrame:
    import pandas as pd

    columns = migrations.c
    finished = columns.state.in_([State.PENDING_PREFS, State.COMPLETED])
    query = (
        select(
            columns.destination_pds,
            func.count().label("migrations"),
            func.sum(case((finished, 1), else_=0)).label("finished"),
            func.sum(case((columns.state == State.FAILED, 1), else_=0)).label("failed"),
            func.sum(case((columns.state == State.WAITING, 1), else_=0)).label("waiting"),
        )
        .where(*wanted.conditions())
        .group_by(columns.destination_pds)
        .order_by(func.count().desc(), columns.destination_pds)
    )
    names = ["destination_pds", "migrations", "finished", "failed", "waiting"]
    with opened(settings) as engine, engine.connect() as connection:
        return pd.DataFrame.from_records([tuple(row) for row in connection.execute(query)], columns=names)


def _errors(wanted: Wanted, settings: Settings | None) -> pd.DataFrame:
    import pandas as pd

    columns = migrations.c
    stopped = columns.state.in_([State.FAILED, State.WAITING])
    query = (
        select(columns.state, columns.error_code, func.count(), func.min(columns.error_text))
        .where(stopped, *wanted.conditions())
        .group_by(columns.state, columns.error_code)
        .order_by(func.count().desc(), columns.state, columns.error_code)
    )
    names = ["state", "error_code", "migrations", "example"]
    with opened(settings) as engine, engine.connect() as connection:
        return pd.DataFrame.from_records([tuple(row) for row in connection.execute(query)], columns=names)
