"""Giving a migration up, and taking it up again, inside the caller's transaction.

What no run works on is cancelled at once. A run is asked: the wish stands in the row, the run's lease thread finds it,
and the migration is cancelled when the run lets go of it, in the same transaction. Until then no way leads on, so that
a wish can neither be overtaken nor forgotten; only a person withdraws it, once the run has gone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.attempts import end_lost_attempt
from eurosky_pipeline.registry.credentials import delete_passwords
from eurosky_pipeline.registry.holds import LeaseHeldError
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.outbox import tell_state
from eurosky_pipeline.registry.rows import read_row
from eurosky_pipeline.registry.states import RESTART, STOPPED, State
from eurosky_pipeline.registry.tables import migrations


class MigrationCancelled(ConflictError):
    """A person has given the migration up; whoever works on it has to end."""

    default_code = "cancelled"


def cancelled_error(token: str) -> MigrationCancelled:
    """What is said to a run that finds it so."""
    return MigrationCancelled(
        f"{token} is cancelled",
        hint=f"`eurosky migrations retry {token} --destination-password-env VAR` takes it up again",
    )


def request_cancel(connection: Connection, token: str, now: datetime, *, is_finished_too: bool) -> None:
    """As `Registry.request_cancel`."""
    migration = locked_row(connection, token)
    is_finished = migration.state is State.PENDING_PREFS and not is_finished_too
    if is_finished or migration.state is State.COMPLETED:
        raise ConflictError(
            f"{token} is finished ({migration.state}): there is nothing to stop",
            code="already_finished",
            hint="--finished gives it up all the same, so that the account can be registered anew"
            if is_finished
            else "it stays as it is",
        )
    if is_held(migration, now):
        first_wish = func.coalesce(migrations.c.cancel_requested_at, now)
        connection.execute(update(migrations).where(migrations.c.token == token).values(cancel_requested_at=first_wish))
    else:
        end_lost_attempt(connection, token, migration.lease_expires_at, now)
        _give_up(connection, [token], now)


def fulfil_wishes(connection: Connection, holder: str, now: datetime) -> None:
    """Cancel what this run was asked to stop: it is letting go of it."""
    columns = migrations.c
    # all rows are locked, whether somebody wants to cancel them or not: who asks from now on finds them let go of
    query = select(columns.token, columns.cancel_requested_at).where(columns.lease_holder == holder).with_for_update()
    _give_up(connection, [row.token for row in connection.execute(query).all() if row.cancel_requested_at], now)


def is_cancel_wanted(connection: Connection, token: str) -> bool:
    """Whether somebody wants the work on it to end, or has given it up while the worker was away."""
    columns = migrations.c
    query = select(columns.state, columns.cancel_requested_at).where(columns.token == token)
    row = connection.execute(query).one_or_none()
    return row is not None and (row.state == State.CANCELLED or row.cancel_requested_at is not None)


def bring_back(connection: Connection, token: str, now: datetime) -> None:
    """As `Registry.retry`; raises sqlalchemy's IntegrityError if the DID has another active migration."""
    migration = locked_row(connection, token)
    migration.require_known()
    check_at_rest(migration, now)
    values: dict[str, Any] = {"cancel_requested_at": None, "start_wanted_at": now}
    if migration.state in STOPPED:
        values |= {"state": migration.stopped_in or RESTART, "stopped_in": None, "resume_at": None}
        values |= {"error_code": None, "error_text": None, "updated_at": now}
    connection.execute(update(migrations).where(migrations.c.token == token).values(**values))
    tell_state(connection, token, migration.state, values.get("state", migration.state), now)


def is_held(migration: Migration, now: datetime) -> bool:
    """Whether a run works on it, or did until so lately that nobody can tell."""
    return migration.lease_expires_at is not None and migration.lease_expires_at > now


def check_at_rest(migration: Migration, now: datetime) -> None:
    """Raises LeaseHeldError if a run works on it."""
    if is_held(migration, now):
        raise LeaseHeldError(
            f"{migration.token} is being worked on by run {migration.lease_holder}",
            hint="stop that run first; a dead one loses its hold within two minutes",
        )


def locked_row(connection: Connection, token: str) -> Migration:
    """The row as it stays until the transaction ends. Raises SettingsError if there is no such migration."""
    read_row(connection, token)
    connection.execute(select(migrations.c.token).where(migrations.c.token == token).with_for_update())
    return read_row(connection, token)


def _give_up(connection: Connection, tokens: list[str], now: datetime) -> None:
    """Cancel these, whose rows the caller has locked; their passwords go at once."""
    if not tokens:
        return
    columns = migrations.c
    before = connection.execute(select(columns.token, columns.state).where(columns.token.in_(tokens))).all()
    for token, state in before:
        delete_passwords(connection, token)
        tell_state(connection, token, State(state), State.CANCELLED, now)
    connection.execute(
        update(migrations)
        .where(columns.token.in_(tokens))
        .values(
            stopped_in=case((columns.state.in_(STOPPED), columns.stopped_in), else_=columns.state),
            state=State.CANCELLED,
            resume_at=None,
            lease_expires_at=None,
            cancel_requested_at=None,
            start_wanted_at=None,
            updated_at=case((columns.state == State.CANCELLED, columns.updated_at), else_=now),
        )
    )
