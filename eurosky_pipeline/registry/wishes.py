"""Which migrations want to be started: registered, or brought back, and no run has begun on them since."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, or_, select

from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import migrations

STARTABLE = (State.PENDING_REPO, State.PENDING_BLOBS)
"""States from which a run goes on; one that is pending_prefs is finished."""


class Wish(NamedTuple):
    """Where a migration stands among those that want to be started: by the moment of its wish, then by its token."""

    wanted_at: datetime
    token: str


def wish_of(migration: Migration) -> Wish:
    """For a migration that wants to be started."""
    return Wish(migration.start_wanted_at or migration.created_at, migration.token)


def read_wishes(
    connection: Connection,
    now: datetime,
    limit: int,
    *,
    after: Wish | None = None,
    among: Collection[str] | None = None,
) -> list[Migration]:
    """Migrations that want to be started and that no run holds, the oldest wish first.

    Args:
        limit: how many at most.
        after: those that come later in the order than this.
        among: only these tokens; some hundred.
    """
    columns = migrations.c
    query = select(migrations).where(
        columns.start_wanted_at.is_not(None),
        # an expression, that the index of the states is left alone: nearly all of a bulk are in one
        columns.state.concat("").in_(STARTABLE),
        columns.cancel_requested_at.is_(None),
        or_(columns.lease_expires_at.is_(None), columns.lease_expires_at < now),
    )
    if after is not None:  # the first condition alone would do, and cannot be looked up in the index
        later = or_(columns.start_wanted_at > after.wanted_at, columns.token > after.token)
        query = query.where(and_(columns.start_wanted_at >= after.wanted_at, later))
    if among is not None:
        query = query.where(columns.token.in_(list(among)))
    query = query.order_by(columns.start_wanted_at, columns.token).limit(limit)
    return [Migration.from_row(row) for row in connection.execute(query).mappings()]
