"""What can be read of the registry, and needs no key to the passwords; `Registry` is one of these that changes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine, select

from eurosky_pipeline.registry import cancellation
from eurosky_pipeline.registry.attempts import Attempt, attempts_of
from eurosky_pipeline.registry.credentials import count_useless
from eurosky_pipeline.registry.ledger import BlobOutcome, outcomes_of, read_outcomes
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.pause import Pause, paused_error, read_pause
from eurosky_pipeline.registry.queries import Wanted, each
from eurosky_pipeline.registry.rows import read_row
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import migrations
from eurosky_pipeline.registry.uploads import uploads_since
from eurosky_pipeline.registry.wishes import Wish, read_wishes


class Desk:
    """The registry for who reads it, or runs migrations, and needs no key. Safe to share between threads.

    Where the database's server goes away for a moment, every method waits for it and begins again (`patience`).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        self._engine.dispose()

    @patient
    def get(self, token: str) -> Migration:
        """Raises SettingsError if there is no such migration."""
        with self._engine.connect() as connection:
            return read_row(connection, token)

    @patient
    def find(self, states: Iterable[State] = ()) -> list[Migration]:
        """Migrations, oldest first; all, or those in the given states."""
        query = select(migrations).order_by(migrations.c.created_at, migrations.c.token)
        wanted = list(states)
        if wanted:
            query = query.where(migrations.c.state.in_(wanted))
        with self._engine.connect() as connection:
            return [Migration.from_row(row) for row in connection.execute(query).mappings()]

    def each(self, wanted: Wanted = Wanted(), limit: int | None = None) -> Iterator[Migration]:  # noqa: B008
        """Those that are wanted, oldest first, read page by page: for who does not need all at once."""
        return each(self._engine, wanted, limit)

    @patient
    def wishes(self, limit: int, *, after: Wish | None = None, among: Collection[str] | None = None) -> list[Migration]:
        """Migrations that want to be started, the oldest wish first; Args: as of `wishes.read_wishes`."""
        with self._engine.connect() as connection:
            return read_wishes(connection, datetime.now(UTC), limit, after=after, among=among)

    @patient
    def is_cancel_wanted(self, token: str) -> bool:
        """Whether whoever works on it should stop."""
        with self._engine.connect() as connection:
            return cancellation.is_cancel_wanted(connection, token)

    @patient
    def attempts_of(self, token: str) -> list[Attempt]:
        """The runs that have worked on it, the first one first."""
        with self._engine.connect() as connection:
            return attempts_of(connection, token)

    def outcomes(self, token: str) -> list[BlobOutcome]:
        """The ledger of one migration, by CID."""
        return list(self.each_outcome(token))

    def each_outcome(self, token: str) -> Iterator[BlobOutcome]:
        """The same, read page by page: for who does not need all at once."""
        return read_outcomes(self._engine, token)

    @patient
    def outcomes_of(self, token: str, cids: Sequence[str]) -> dict[str, BlobOutcome]:
        """What the ledger has of these blobs, by CID; some hundred at a time."""
        with self._engine.connect() as connection:
            return outcomes_of(connection, token, cids)

    @patient
    def uploads_since(self, destination_pds: str, since: datetime) -> int:
        """How many blobs all migrations to this host have uploaded since that moment."""
        with self._engine.connect() as connection:
            return uploads_since(connection, destination_pds, since)

    @patient
    def count_useless_credentials(self) -> int:
        """About how many passwords `purge_credentials` would delete; 0 is exact."""
        with self._engine.connect() as connection:
            return count_useless(connection, datetime.now(UTC))

    @patient
    def paused(self) -> Pause | None:
        """The pause, if there is one."""
        with self._engine.connect() as connection:
            return read_pause(connection)

    def require_not_paused(self) -> None:
        """Raises PausedError: nothing may start now."""
        pause = self.paused()
        if pause is not None:
            raise paused_error(pause)
