"""Putting down what has to be told, inside the caller's transaction: an event is there if the change is, and only then.

Belongs here: the rows of `events` as they begin. Does not: who is told, and when (`deliveries`, and the room `events`).

Nothing of the account stands in a row but the token: DID, handle and hosts are joined when it is told, so that whoever
is forgotten until then is forgotten there too. Who changes something that was changed before puts nothing down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, String, insert, literal, select, update

from eurosky_pipeline.plugins.event_sinks import EventKind
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import deliveries, events, migrations

_TOLD_OF_PROGRESS: Final = ("blobs_completed", "blobs_total", "bytes_transferred", "reconciliation_status")


class EndedRun(NamedTuple):
    """An attempt that has just ended; `ended_in` is None where its run was lost."""

    token: str
    number: int
    started_at: datetime
    started_in: str
    ended_at: datetime
    ended_in: str | None
    error_code: str | None
    error_text: str | None


def tell_registered(connection: Connection, tokens: Collection[str]) -> None:
    """These migrations are there now. The rows are made by the database: there may be many."""
    columns = migrations.c
    told = {
        "token": columns.token,
        "kind": literal(EventKind.REGISTERED, String),
        "state_after": columns.state,
        "summary": literal({}, events.c.summary.type),
        "happened_at": columns.created_at,
    }
    found = select(*told.values()).where(columns.token.in_(tokens)).order_by(columns.created_at)
    connection.execute(insert(events).from_select(list(told), found))


def tell_state(
    connection: Connection,
    token: str,
    before: State,
    after: State,
    now: datetime,
    error: tuple[str | None, str | None] = (None, None),
) -> None:
    """A migration has gone from one state to another; `error` is the code and text of why, if it has stopped."""
    if before is not after:
        _put_down(connection, [_event(token, EventKind.STATE_CHANGED, before, after, now, *error)])


def tell_ended(connection: Connection, ended: Sequence[EndedRun]) -> None:
    """Runs have ended; what their migrations' progress says now goes along, in numbers."""
    if not ended:
        return
    tokens = [run.token for run in ended]
    query = select(migrations.c.token, migrations.c.state, migrations.c.progress_data)
    found = {row.token: row for row in connection.execute(query.where(migrations.c.token.in_(tokens)))}
    rows = []
    for run in ended:
        after = run.ended_in or found[run.token].state
        before = run.started_in if run.started_in != after else None
        event = _event(run.token, EventKind.RUN_ENDED, before, after, run.ended_at, run.error_code, run.error_text)
        rows.append({**event, "summary": _summary(run, found[run.token].progress_data)})
    _put_down(connection, rows)


def forget_texts(connection: Connection, token: str) -> None:
    """Texts may name the account: its events keep none, nor does what receivers have answered."""
    of_token = select(events.c.id).where(events.c.token == token)
    connection.execute(update(events).where(events.c.token == token).values(error_text=None))
    connection.execute(update(deliveries).where(deliveries.c.event_id.in_(of_token)).values(error_text=""))


def _summary(run: EndedRun, progress: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: progress[name] for name in _TOLD_OF_PROGRESS if isinstance(progress.get(name), int | float | str)}
    return {
        "attempt": run.number,
        "duration_s": round((run.ended_at - run.started_at).total_seconds(), 3),
        **known,
        "failed_blobs": len(progress.get("failed_blobs") or ()),
    }


def _event(
    token: str,
    kind: EventKind,
    before: str | None,
    after: str,
    happened_at: datetime,
    error_code: str | None = None,
    error_text: str | None = None,
) -> dict[str, Any]:
    return {
        "token": token,
        "kind": kind,
        "state_before": before,
        "state_after": after,
        "error_code": error_code,
        "error_text": error_text,
        "summary": {},
        "happened_at": happened_at,
    }


def _put_down(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(events), list(rows))
