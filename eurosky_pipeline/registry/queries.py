"""Looking for migrations without holding them all: conditions that the database judges, and pages of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, exists, or_, select

from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.states import INACTIVE, State
from eurosky_pipeline.registry.tables import migrations

PAGE_ROWS: Final = 200


class Place(NamedTuple):
    """Where a migration stands in the order of all: by its beginning, then by its token."""

    created_at: datetime
    token: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which migrations; every condition that is given has to hold.

    Attributes:
        states: any of them; none for all.
        host: base URL of the source or of the destination, as the host policy spells it.
        created_before, created_after: registered before, or not before, that moment.
        is_untried: no run has ever worked on it.
        is_outdated: its account has, or has not, another migration that is active, or a later one not given up.
        after: those that come later in the order than this place.
    """

    states: tuple[State, ...] = ()
    host: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    is_untried: bool = False
    is_outdated: bool | None = None
    after: Place | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        columns, found = migrations.c, list[ColumnElement[bool]]()
        if self.states:
            found.append(columns.state.in_(self.states))
        if self.host is not None:
            found.append(or_(columns.source_pds == self.host, columns.destination_pds == self.host))
        if self.created_before is not None:
            found.append(columns.created_at < self.created_before)
        if self.created_after is not None:
            found.append(columns.created_at >= self.created_after)
        if self.is_untried:
            found.append(columns.attempts == 0)
        if self.is_outdated is not None:
            found.append(_has_newer() if self.is_outdated else ~_has_newer())
        if self.after is not None:
            found.append(_is_after(self.after))
        return found


def each(
    engine: Engine, wanted: Wanted, limit: int | None = None, *, page_rows: int = PAGE_ROWS
) -> Iterator[Migration]:
    """Migrations, oldest first, at most `limit`: page by page, so that neither memory nor a connection is held.

    Each is as it was when its page was read; what is registered meanwhile comes last.
    """
    ordered = select(migrations).order_by(migrations.c.created_at, migrations.c.token).where(*wanted.conditions())
    query = ordered
    while limit is None or limit > 0:
        rows = page_rows if limit is None else min(limit, page_rows)
        page = _page(engine, query.limit(rows))
        yield from page
        if len(page) < rows:
            return
        limit = None if limit is None else limit - rows
        query = ordered.where(_is_after(place_of(page[-1])))


def place_of(migration: Migration) -> Place:
    """Where it stands in the order of `each`."""
    return Place(migration.created_at, migration.token)


def active_tokens(connection: Connection, did: str) -> dict[str, State]:
    """The tokens of a DID's active migrations, one or none, and where each stands."""
    columns = migrations.c
    query = select(columns.token, columns.state).where(columns.did == did, columns.state.not_in(INACTIVE))
    return {row.token: State(row.state) for row in connection.execute(query)}


@patient
def _page(engine: Engine, query: Select[Any]) -> list[Migration]:
    with engine.connect() as connection:
        return [Migration.from_row(row) for row in connection.execute(query).mappings()]


def _is_after(place: Place) -> ColumnElement[bool]:
    # the first condition alone would do, and cannot be looked up in the index
    created, token = migrations.c.created_at, migrations.c.token
    return and_(created >= place.created_at, or_(created > place.created_at, token > place.token))


def _has_newer() -> ColumnElement[bool]:
    this, other = migrations.c, migrations.alias("other")
    columns = other.c
    is_later = or_(
        columns.created_at > this.created_at, and_(columns.created_at == this.created_at, columns.token > this.token)
    )
    is_newer = or_(columns.state.not_in(INACTIVE), and_(columns.state != State.CANCELLED, is_later))
    return exists(
        select(columns.token)
        .where(columns.did == this.did, columns.token != this.token, is_newer)
        .correlate(migrations)
    )
