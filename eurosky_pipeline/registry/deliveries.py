"""What has been put down and who has been told of it: reading in order, one teller for each receiver at a time.

Every receiver (sink) is told of the events in the order of their ids. One that waits to be tried again keeps all after
it waiting. Who tells a sink holds it by a row of `controls`, for a minute at most if it dies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from eurosky_pipeline.plugins.event_sinks import Event, EventKind
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.migration import FORGOTTEN
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.tables import controls, deliveries, events, migrations
from eurosky_pipeline.settings import Settings

_MAX_ERROR_TEXT: Final = 300
_DELETED_AT_ONCE: Final = 5_000
"""SQLite has one writer: runs shall not wait long for this one."""


class DeliveryOutcome(StrEnum):
    """What has become of telling one sink of one event."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    """It is tried again at `next_try_at`."""
    GIVEN_UP = "given_up"
    """It was refused, or has waited for too long."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that a sink has not had; `attempts` is how often it has been tried."""

    event: Event
    attempts: int


@dataclass(frozen=True, slots=True)
class Result:
    """How telling it has ended, this time. `attempts` counts this one; `error_text` says no more than what is ours to
    say: no word of the receiver's."""

    event_id: int
    outcome: DeliveryOutcome
    attempts: int
    next_try_at: datetime | None = None
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a sink stands.

    Attributes:
        waiting: events that it has not had; `since`, when the oldest of them happened.
        next_try_at, error_text: of the one that was tried in vain; None and empty if none was.
        given_up: of the last days, those that it will not have: (event's id, token, reason), the newest first, and
            `given_up_count` how many they are.
    """

    sink: str
    waiting: int
    since: datetime | None
    next_try_at: datetime | None
    error_text: str
    given_up: tuple[tuple[int, str, str], ...]
    given_up_count: int


class Outbox:
    """The events and their deliveries. Threads may share it, and each method may be done twice, as `Registry`'s."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        self._engine.dispose()

    @patient
    def claim(self, sink: str, holder: str, now: datetime, until: datetime) -> bool:
        """Become the one who tells this sink, or stay so, until that moment. False if another one is."""
        with self._engine.begin() as connection:
            return _claim(connection, sink, holder, now, until)

    @patient
    def release(self, sink: str, holder: str) -> None:
        """Let others tell this sink."""
        with self._engine.begin() as connection:
            connection.execute(delete(controls).where(_is_claim(sink), controls.c.value == holder))

    @patient
    def pending(self, sink: str, now: datetime, *, after: int = 0, limit: int = 100) -> list[Pending]:
        """The events that come next, by id; none if the first of them, or one before it, waits to be tried again."""
        told = deliveries.c
        query = (
            select(
                events,
                *(migrations.c[name] for name in ("did", "handle", "source_pds", "destination_pds")),
                told.attempts,
                told.next_try_at,
            )
            .select_from(_with_deliveries(sink).join(migrations, migrations.c.token == events.c.token))
            .where(_is_open(), events.c.id > after)
            .order_by(events.c.id)
            .limit(limit)
        )
        found = []
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                if row["next_try_at"] is not None and row["next_try_at"] > now:
                    break
                found.append(Pending(_event(row), row["attempts"] or 0))
        return found

    @patient
    def record(self, sink: str, holder: str, results: Sequence[Result], now: datetime, until: datetime) -> bool:
        """Write down what has become of these, and hold the sink until that moment.

        Returns: whether it is still held; if not, another one may have told the same.
        """
        with self._engine.begin() as connection:
            _write(connection, sink, results, now)
            return _claim(connection, sink, holder, now, until)

    @patient
    def standing(self, sink: str, *, named: int = 5) -> Standing:
        """Where a sink stands; of the given-up ones, the last few are named."""
        with self._engine.connect() as connection:
            return read_standing(connection, sink, named=named)

    def delete_done(self, sinks: Sequence[str]) -> int:
        """Delete the events that every one of these sinks has had: where there is none, all. Returns how many.

        Those that one has given up stay for who looks for them, until they are too old.
        """
        told = select(func.count()).where(
            deliveries.c.event_id == events.c.id,
            deliveries.c.sink.in_(list(sinks)),
            deliveries.c.outcome == DeliveryOutcome.DELIVERED,
        )
        return self._delete_all(told.scalar_subquery() == len(sinks))

    @patient
    def count_untold(self, before: datetime, sinks: Sequence[str]) -> int:
        """How many events from before that moment one of these sinks has not had, nor refused."""
        with self._engine.connect() as connection:
            return max((_count_open(connection, sink, events.c.happened_at < before) for sink in sinks), default=0)

    def delete_old(self, before: datetime) -> int:
        """Delete the events from before that moment, told or not. Returns how many."""
        return self._delete_all(events.c.happened_at < before)

    def _delete_all(self, condition: Any) -> int:
        gone = 0
        while count := self._delete_some(condition):
            gone += count
        return gone

    @patient
    def _delete_some(self, condition: Any) -> int:
        some = select(events.c.id).where(condition).order_by(events.c.id).limit(_DELETED_AT_ONCE)
        with self._engine.begin() as connection:
            return connection.execute(delete(events).where(events.c.id.in_(some))).rowcount


def open_outbox(settings: Settings, *, patience_s: float = 0) -> Outbox:
    """Args, Raises: as `database.open_engine`. No key to the passwords is needed."""
    return Outbox(open_engine(settings, patience_s=patience_s))


def read_standing(connection: Connection, sink: str, *, named: int = 5) -> Standing:
    """As `Outbox.standing`, for who has a connection that only reads."""
    told = deliveries.c
    waiting = select(func.count(), func.min(events.c.happened_at)).select_from(_with_deliveries(sink)).where(_is_open())
    count, since = connection.execute(waiting).one()
    tried = select(told.next_try_at, told.error_text).where(told.sink == sink, told.outcome == DeliveryOutcome.WAITING)
    last = connection.execute(tried.order_by(told.event_id).limit(1)).one_or_none()
    given_up = (
        select(events.c.id, events.c.token, told.error_text)
        .join(deliveries, told.event_id == events.c.id)
        .where(told.sink == sink, told.outcome == DeliveryOutcome.GIVEN_UP)
    )
    total = connection.execute(select(func.count()).select_from(given_up.subquery())).scalar_one()
    rows = connection.execute(given_up.order_by(events.c.id.desc()).limit(named)).all() if total else []
    return Standing(
        sink,
        count,
        since,
        last.next_try_at if last else None,
        last.error_text if last else "",
        tuple((row.id, row.token, row.error_text) for row in rows),
        total,
    )


def _claim(connection: Connection, sink: str, holder: str, now: datetime, until: datetime) -> bool:
    put = _insert(connection, controls).values(name=_claim_name(sink), value=holder, set_at=until)
    put = put.on_conflict_do_update(
        index_elements=[controls.c.name],
        set_={"value": put.excluded.value, "set_at": put.excluded.set_at},
        where=(controls.c.value == holder) | (controls.c.set_at <= now),
    )
    return connection.execute(put.returning(controls.c.name)).first() is not None


def _write(connection: Connection, sink: str, results: Sequence[Result], now: datetime) -> None:
    """One row for each, in the place of an older one; what is deleted meanwhile has nobody to be told of it."""
    ids = [result.event_id for result in results]
    there = select(events.c.id).where(events.c.id.in_(ids)).with_for_update(read=True, key_share=True)
    kept = set(connection.execute(there).scalars())
    rows = [
        {
            "event_id": result.event_id,
            "sink": sink,
            "outcome": result.outcome,
            "attempts": result.attempts,
            "next_try_at": result.next_try_at,
            "error_text": result.error_text[:_MAX_ERROR_TEXT],
            "updated_at": now,
        }
        for result in results
        if result.event_id in kept
    ]
    if not rows:
        return
    put = _insert(connection, deliveries)
    names = ("outcome", "attempts", "next_try_at", "error_text", "updated_at")
    put = put.on_conflict_do_update(
        index_elements=[deliveries.c.event_id, deliveries.c.sink],
        set_={name: put.excluded[name] for name in names},
        where=deliveries.c.outcome == DeliveryOutcome.WAITING,  # what is over stays so
    )
    connection.execute(put, rows)


def _insert(connection: Connection, table: Any) -> Any:
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _with_deliveries(sink: str) -> Any:
    return events.outerjoin(deliveries, and_(deliveries.c.event_id == events.c.id, deliveries.c.sink == sink))


def _is_open() -> Any:
    return deliveries.c.outcome.is_(None) | (deliveries.c.outcome == DeliveryOutcome.WAITING)


def _count_open(connection: Connection, sink: str, condition: Any) -> int:
    query = select(func.count()).select_from(_with_deliveries(sink)).where(_is_open(), condition)
    return connection.execute(query).scalar_one()


def _is_claim(sink: str) -> Any:
    return controls.c.name == _claim_name(sink)


def _claim_name(sink: str) -> str:
    """A sink's name may be longer than that of a control."""
    return f"events:{hashlib.sha256(sink.encode()).hexdigest()[:16]}"


def _event(row: Any) -> Event:
    is_forgotten = row["did"].startswith(FORGOTTEN)
    return Event(
        id=row["id"],
        kind=EventKind(row["kind"]),
        token=row["token"],
        did=None if is_forgotten else row["did"],
        handle=row["handle"],
        source_pds=row["source_pds"],
        destination_pds=row["destination_pds"],
        state_before=row["state_before"],
        state_after=row["state_after"],
        error_code=row["error_code"],
        error_text=row["error_text"],
        summary=row["summary"],
        happened_at=row["happened_at"],
    )
