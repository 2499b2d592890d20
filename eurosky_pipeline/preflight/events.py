"""Who is told of events, what waits for them, and what they did not take; read, and nobody is told anything."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.events.delivery import counted
from eurosky_pipeline.plugins.foreign import kind_of, within
from eurosky_pipeline.plugins.manager import load_event_sinks
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.preflight.stores import is_there, reading, schema_of
from eurosky_pipeline.registry.database import SCHEMA_HEAD
from eurosky_pipeline.registry.deliveries import Standing, read_standing
from eurosky_pipeline.settings import Settings

_LONG: Final = timedelta(minutes=10)
_SINK_LIMIT_S: Final = 5.0
_NOBODY_TELLS: Final = "run `eurosky up`, and leave its sensor deliver_events on (`eurosky sensors`)"


def look_at_events(settings: Settings) -> list[Diagnosis]:
    """A row for each sink that has trouble; one row for all where none has."""
    told: list[str] = []
    loaded = load_event_sinks(settings.event_sinks)
    faults = {missing.name: (missing.reason, missing.hint) for missing in loaded.missing}
    for sink in loaded.made:
        try:
            if within(_SINK_LIMIT_S, sink.is_configured):
                told.append(sink.name)
        except EuroskyError as error:
            faults[sink.name] = (f"{error.message} [{error.code}]", error.hint)
        except Exception as error:  # its text may be anything
            faults[sink.name] = (f"it has raised {kind_of(error)}", "have its plugin mended")
        with suppress(Exception):
            within(_SINK_LIMIT_S, sink.close)
    standings = {standing.sink: standing for standing in _standings(settings, [*told, *faults])}
    rows: list[Diagnosis] = []
    for name, (reason, hint) in faults.items():
        waiting = f" ({counted(standings[name].waiting)} waiting)" if name in standings else ""
        rows.append(Diagnosis("events", Health.BAD, f"{name}{waiting}: {reason}", hint))
    for name in told:
        if name in standings:
            rows += _of_sink(standings[name], datetime.now(UTC))
    return rows or [Diagnosis("events", Health.OK, f"told to: {', '.join(told) or 'nobody'}")]


def _standings(settings: Settings, sinks: list[str]) -> list[Standing]:
    """Where each stands; none where there is no registry yet, or not this program's: another row says so."""
    if not is_there(settings):
        return []
    with reading(settings) as connection:
        if schema_of(connection) != SCHEMA_HEAD:
            return []
        return [read_standing(connection, sink) for sink in sinks]


def _of_sink(standing: Standing, now: datetime) -> list[Diagnosis]:
    rows = []
    since = f" since {standing.since:%Y-%m-%d %H:%M:%S} UTC" if standing.since else ""
    waiting = f"{standing.sink}: {counted(standing.waiting)} waiting{since}"
    if standing.next_try_at is not None:
        found = f"{waiting}; the next try is at {standing.next_try_at:%H:%M:%S} UTC: {standing.error_text}"
        rows.append(Diagnosis("events", Health.WARN, found, "see to the receiver; after a day an event is given up"))
    elif standing.since is not None and now - standing.since > _LONG:
        rows.append(Diagnosis("events", Health.WARN, waiting, _NOBODY_TELLS))
    if standing.given_up_count:
        named = "; ".join(f"[{token}] event {number}: {reason}" for number, token, reason in standing.given_up)
        more = " …" if standing.given_up_count > len(standing.given_up) else ""
        found = f"{standing.sink}: {counted(standing.given_up_count)} given up this week: {named}{more}"
        rows.append(Diagnosis("events", Health.WARN, found, "look at those migrations: nobody was told"))
    return rows
