"""Who holds a migration's lease, inside the caller's transaction; `lease` keeps one for as long as a step works."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, case, select, update

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.rows import read_row
from eurosky_pipeline.registry.tables import migrations


class LeaseHeldError(ConflictError):
    """Another run works on this migration; what is stored about it is that run's business."""

    default_code = "lease_held"


def take_lease(connection: Connection, token: str, holder: str, lifetime_s: float, now: datetime) -> bool:
    """As `Registry.acquire_lease`."""
    columns = migrations.c
    is_free = columns.lease_expires_at.is_(None) | (columns.lease_expires_at < now) | (columns.lease_holder == holder)
    before = connection.execute(select(columns.lease_holder).where(columns.token == token)).scalar()
    changed = connection.execute(
        update(migrations)
        .where(columns.token == token, is_free)
        .values(
            attempts=columns.attempts + case((columns.lease_holder == holder, 0), else_=1),
            lease_holder=holder,
            lease_expires_at=now + timedelta(seconds=lifetime_s),
        )
    )
    if changed.rowcount == 0:
        migration = read_row(connection, token)
        raise LeaseHeldError(
            f"{token} is being worked on by run {migration.lease_holder}",
            hint="wait for that run; a dead one loses its hold within two minutes",
        )
    return before != holder
