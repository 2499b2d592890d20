"""Who holds a migration's lease, inside the caller's transaction; `lease` keeps one for as long as a step works."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.attempts import begin_attempt, is_over
from eurosky_pipeline.registry.rows import read_row
from eurosky_pipeline.registry.tables import migrations


class LeaseHeldError(ConflictError):
    """Another run works on this migration; what is stored about it is that run's business."""

    default_code = "lease_held"


class AttemptOverError(LeaseHeldError):
    """This run has worked on the migration, and was taken for lost: what is done since is not its to touch. A process
    that hung for minutes comes to this when it goes on."""

    default_code = "attempt_over"


class AttemptBegunError(LeaseHeldError):
    """The attempt that this run was asked for is another run's: two have been asked for the same."""

    default_code = "attempt_begun"


def take_lease(
    connection: Connection, token: str, holder: str, lifetime_s: float, now: datetime, *, attempt: int | None = None
) -> bool:
    """As `Registry.acquire_lease`."""
    columns = migrations.c
    query = select(columns.state, columns.attempts, columns.lease_holder, columns.lease_expires_at)
    before = connection.execute(query.where(columns.token == token).with_for_update(key_share=True)).one_or_none()
    is_new = before is not None and before.lease_holder != holder
    is_held = is_new and before is not None and before.lease_expires_at is not None and before.lease_expires_at >= now
    if before is None or is_held:
        migration = read_row(connection, token)
        raise LeaseHeldError(
            f"{token} is being worked on by run {migration.lease_holder}",
            hint="wait for that run; a dead one loses its hold within two minutes",
        )
    if is_over(connection, token, holder, is_new_holder=is_new):
        raise AttemptOverError(
            f"run {holder} was away for so long that {token} was given to another run",
            hint=f"`eurosky migrations show {token}` tells what has become of it",
        )
    if is_new and attempt is not None and attempt != before.attempts + 1:
        raise AttemptBegunError(
            f"attempt {attempt} of {token} has been made by another run",
            hint=f"`eurosky migrate {token}` begins another one",
        )
    connection.execute(
        update(migrations)
        .where(columns.token == token)
        .values(
            attempts=before.attempts + is_new,
            lease_holder=holder,
            lease_expires_at=now + timedelta(seconds=lifetime_s),
            start_wanted_at=None,
        )
    )
    if is_new:
        begin_attempt(
            connection, token, before.attempts + 1, holder, before.state, lost_at=before.lease_expires_at, now=now
        )
    return is_new
