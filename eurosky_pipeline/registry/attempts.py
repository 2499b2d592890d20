"""The history of attempts: one row for each run that has worked on a migration, inside the caller's transaction.

A row begins when a new holder takes the lease. It ends with the word of the run (failed, put off), or when the run lets
go of the lease; that of a run which was killed ends when another one takes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.registry.outbox import EndedRun, tell_ended
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import attempts, migrations

RUN_LOST = "run_lost"
"""Code of an attempt whose run has ended without a word: killed, or its machine."""
STOPPED_BEFORE_END = StoppedError("its run was stopped before its end")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run's work on a migration.

    Attributes:
        number: from 1.
        holder: the run's id.
        started_in, ended_in: the migration's state then; the second is None of one that is under way, or was lost.
        ended_at: None as long as it is under way; of one that was lost, when its lease ran out.
        error_code, error_text: why it failed, was put off, stopped or lost; None of one that came to its end.
    """

    number: int
    holder: str
    started_at: datetime
    started_in: State
    ended_at: datetime | None
    ended_in: State | None
    error_code: str | None
    error_text: str | None


def attempts_of(connection: Connection, token: str) -> list[Attempt]:
    """All attempts of one migration, the first one first."""
    columns = attempts.c
    query = select(
        columns.number,
        columns.holder,
        columns.started_at,
        columns.started_in,
        columns.ended_at,
        columns.ended_in,
        columns.error_code,
        columns.error_text,
    )
    rows = connection.execute(query.where(columns.token == token).order_by(columns.number)).mappings()
    return [
        Attempt(
            **{
                **row,
                "started_in": State(row["started_in"]),
                "ended_in": State(row["ended_in"]) if row["ended_in"] else None,
            }
        )
        for row in rows
    ]


def is_over(connection: Connection, token: str, holder: str, *, is_new_holder: bool) -> bool:
    """Whether this run has had its attempt: it was taken for lost, or another one holds the migration, or did."""
    query = select(attempts.c.error_code).where(attempts.c.token == token, attempts.c.holder == holder)
    made = connection.execute(query.limit(1)).first()
    return made is not None and (is_new_holder or made.error_code == RUN_LOST)


def begin_attempt(
    connection: Connection, token: str, number: int, holder: str, state: str, lost_at: datetime | None, now: datetime
) -> None:
    """`lost_at`: when the lease of the one before ran out, if it never let go."""
    end_lost_attempt(connection, token, lost_at, now)
    connection.execute(
        insert(attempts).values(token=token, number=number, holder=holder, started_at=now, started_in=state)
    )


def end_lost_attempt(connection: Connection, token: str, lost_at: datetime | None, now: datetime) -> None:
    """What is under way has ended without a word, if there is any: its run has not let go, and has lost its lease."""
    lost = {"ended_at": min(lost_at or now, now), "error_code": RUN_LOST, "error_text": "the run ended without a word"}
    _end(connection, attempts.c.token == token, lost)


def end_attempt(connection: Connection, token: str, state: State, code: str, text: str, now: datetime) -> None:
    """What is under way ends with an error."""
    values = {"ended_at": now, "ended_in": state, "error_code": code, "error_text": text}
    _end(connection, attempts.c.token == token, values)


def end_attempts(connection: Connection, holder: str, now: datetime, *, is_stopped: bool = False) -> None:
    """The run is over; what it has not told to have failed or to wait ends in the state that it has reached.

    Args:
        is_stopped: its work was broken off; that a person has cancelled the migration says more.
    """
    state = select(migrations.c.state).where(migrations.c.token == attempts.c.token).scalar_subquery()
    values = {"ended_at": now, "ended_in": state}
    own = attempts.c.holder == holder
    if is_stopped:
        why = {"error_code": STOPPED_BEFORE_END.code, "error_text": STOPPED_BEFORE_END.message}
        _end(connection, own & (state != State.CANCELLED), {**values, **why})
    _end(connection, own, values)


def _end(connection: Connection, which: ColumnElement[bool], values: Mapping[str, Any]) -> None:
    """Those that are under way end; of each, once, it is put down that it has."""
    told = [attempts.c[name] for name in EndedRun._fields]
    ending = update(attempts).where(which, attempts.c.ended_at.is_(None)).values(**values).returning(*told)
    tell_ended(connection, [EndedRun(*row) for row in connection.execute(ending)])
