"""From state to state, inside the caller's transaction: compare and set, and what goes with it.

Each move may be made twice: who asks for one that the row shows as made at the same moment has made it before, and did
not get to hear of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, update

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.attempts import end_attempt
from eurosky_pipeline.registry.cancellation import cancelled_error
from eurosky_pipeline.registry.credentials import CREDENTIAL_LIFETIME, delete_passwords, extend_passwords
from eurosky_pipeline.registry.outbox import tell_state
from eurosky_pipeline.registry.rows import merge_progress, read_row
from eurosky_pipeline.registry.states import RESTART, RUNNING, STOPPED, State, is_allowed
from eurosky_pipeline.registry.tables import migrations

_MAX_ERROR_TEXT: Final = 2000


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a migration does not go on, and, if it only waits, until when."""

    state: State
    error_code: str
    error_text: str
    resume_at: datetime | None = None


def move(
    connection: Connection, token: str, before: State, after: State, progress: Mapping[str, Any], now: datetime
) -> None:
    """As `Registry.transition`. Raises sqlalchemy's IntegrityError if another migration of the DID is active."""
    migration = read_row(connection, token)
    if migration.state is after and migration.updated_at == now:
        return
    is_skipping = before in STOPPED and after in RUNNING and after is not (migration.stopped_in or RESTART)
    if not is_allowed(before, after) or is_skipping:
        raise ConflictError(
            f"there is no way for {token} from {before} to {after}",
            code="state_conflict",
            hint="look at it, run it again",
        )
    values: dict[str, Any] = {"state": after, "resume_at": None, "updated_at": now}
    if after in STOPPED:
        values["stopped_in"] = migrations.c.stopped_in if before in STOPPED else before
    else:
        values |= {"stopped_in": None, "error_code": None, "error_text": None}
    _compare_and_set(connection, token, before, values)
    tell_state(connection, token, before, after, now)
    merge_progress(connection, token, progress, now)
    if after is State.COMPLETED:
        delete_passwords(connection, token)


def stop(connection: Connection, token: str, stopped: Stopped, *, holder: str | None, now: datetime) -> bool:
    """Stop a migration that is under way; one that waits keeps its passwords for their usual time after the wait.

    Args:
        holder: only if this run still holds the lease.

    Returns: whether it was stopped.
    """
    migration = read_row(connection, token)
    if migration.state is stopped.state and migration.updated_at == now:
        return True
    if migration.state not in RUNNING:
        return False
    error_text = stopped.error_text[:_MAX_ERROR_TEXT]
    values = {
        "state": stopped.state,
        "stopped_in": migration.state,
        "error_code": stopped.error_code,
        "error_text": error_text,
        "resume_at": stopped.resume_at,
        "updated_at": now,
    }
    where = [migrations.c.token == token, migrations.c.state == migration.state]
    if holder is not None:
        where.append(migrations.c.lease_holder == holder)
    if connection.execute(update(migrations).where(*where).values(**values)).rowcount != 1:
        return False
    tell_state(connection, token, migration.state, stopped.state, now, (stopped.error_code, error_text))
    end_attempt(connection, token, stopped.state, stopped.error_code, error_text, now)
    if stopped.resume_at is not None:
        extend_passwords(connection, token, stopped.resume_at + CREDENTIAL_LIFETIME, now)
    return True


def _compare_and_set(connection: Connection, token: str, before: State, values: Mapping[str, Any]) -> None:
    where = [migrations.c.token == token, migrations.c.state == before]
    if values["state"] not in STOPPED:
        where.append(migrations.c.cancel_requested_at.is_(None))
    if connection.execute(update(migrations).where(*where).values(**values)).rowcount == 1:
        return
    found = read_row(connection, token)
    if found.state is before:
        raise cancelled_error(token)
    raise ConflictError(
        f"{token} is {found.state}, and not {before} as expected",
        code="state_conflict",
        hint="look at it, run it again",
    )
