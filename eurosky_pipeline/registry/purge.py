"""Taking out of the registry what a finished migration need not keep: ledger, passwords, names of blobs and files.

The row stays, with its token, state, hosts, times and counts, so that it can be told what was moved when; `purged_at`
says that the rest is gone. Whose account it was stays too, unless it is to be forgotten.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Select, delete, func, select, update
from sqlalchemy.exc import OperationalError

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.cancellation import fulfil_wishes, is_held, locked_row
from eurosky_pipeline.registry.credentials import delete_passwords
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.holds import LeaseHeldError
from eurosky_pipeline.registry.migration import FORGOTTEN, Migration
from eurosky_pipeline.registry.outbox import forget_texts
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.rows import read_row
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import attempts, blobs, credentials, migrations
from eurosky_pipeline.settings import Settings

PURGEABLE: Final = (State.PENDING_PREFS, State.COMPLETED, State.FAILED, State.CANCELLED)
"""States in which nothing is under way. One that waits is."""
HOLD: Final = timedelta(minutes=10)
"""For how long a purge that is killed keeps a run from its migration; the time that the files of one may take."""
_PERSONAL_PROGRESS: Final = frozenset({"failed_blobs", "converted_car_path"})
_PAGE_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class PurgedRows:
    """How many rows of a migration went, or would go."""

    ledger_rows: int
    credentials: int


class Purge:
    """Finished migrations and what is kept of them. Whoever purges holds the migration, so that no run begins it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Let go of the database; the embedded one's journal too then holds nothing of what was deleted."""
        if self._engine.dialect.name == "sqlite":
            self._engine.dispose()
            with (
                self._engine.connect() as connection,
                suppress(OperationalError),
            ):  # somebody reads: the next one does it
                raw = connection.connection.cursor()
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                raw.close()
        self._engine.dispose()

    def due(
        self,
        states: Sequence[State] = PURGEABLE,
        ended_before: datetime | None = None,
        *,
        is_forgetting: bool = False,
    ) -> Iterator[Migration]:
        """Finished migrations that have something to purge, by token and page by page.

        Args:
            ended_before: only what has not changed since.
            is_forgetting: those too of which only the account is left.
        """
        columns, last = migrations.c, ""
        is_kept = columns.purged_at.is_(None) | (columns.updated_at > columns.purged_at)
        if is_forgetting:
            is_kept |= ~columns.did.startswith(FORGOTTEN)
        where: list[ColumnElement[bool]] = [columns.state.in_(states), is_kept, _is_free(datetime.now(UTC))]
        if ended_before is not None:
            where.append(columns.updated_at <= ended_before)
        while True:
            query = select(migrations).where(*where, columns.token > last).order_by(columns.token).limit(_PAGE_ROWS)
            page = self._page(query)
            yield from page
            if len(page) < _PAGE_ROWS:
                return
            last = page[-1].token

    @patient
    def _page(self, query: Select[Any]) -> list[Migration]:
        with self._engine.connect() as connection:
            return [Migration.from_row(row) for row in connection.execute(query).mappings()]

    @patient
    def get(self, token: str) -> Migration:
        """One that can be purged.

        Raises:
            SettingsError: there is no such migration.
            ConflictError: it is not finished, or a run works on it.
        """
        with self._engine.connect() as connection:
            migration = read_row(connection, token)
        _check_finished(migration, datetime.now(UTC))
        return migration

    @patient
    def count(self, token: str) -> PurgedRows:
        """What `erase` would delete."""
        with self._engine.connect() as connection:
            ledger, passwords = (
                connection.execute(select(func.count()).select_from(table).where(table.c.token == token)).scalar_one()
                for table in (blobs, credentials)
            )
        return PurgedRows(ledger, passwords)

    @contextmanager
    def held(self, token: str) -> Iterator[str]:
        """Keep runs from a migration while its files and rows go. Yields the holder, for `erase`.

        Raises: as `get`.
        """
        holder = f"purge-{secrets.token_hex(4)}"
        self._hold(token, holder)
        try:
            yield holder
        finally:
            self._let_go(holder)

    @patient
    def _hold(self, token: str, holder: str) -> None:
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            migration = locked_row(connection, token)
            if migration.lease_holder != holder:  # else it is held already, and the answer was lost
                _check_finished(migration, now)
            values = {"lease_holder": holder, "lease_expires_at": now + HOLD}
            connection.execute(update(migrations).where(migrations.c.token == token).values(**values))

    @patient
    def _let_go(self, holder: str) -> None:
        with self._engine.begin() as connection:
            fulfil_wishes(connection, holder, datetime.now(UTC))
            ours = migrations.c.lease_holder == holder
            connection.execute(update(migrations).where(ours).values(lease_holder=None, lease_expires_at=None))

    @patient
    def erase(self, token: str, holder: str, *, is_forgetting: bool = False) -> PurgedRows:
        """Delete the ledger and the passwords, and what progress and errors tell of the account, in one transaction.

        Args:
            is_forgetting: the DID, the handle and all texts go too; the migration cannot be run again after that.

        Raises: LeaseHeldError: the hold has run out, and somebody else has it.
        """
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            migration = locked_row(connection, token)
            if migration.lease_holder != holder:
                raise LeaseHeldError(
                    f"{token} has been taken up by run {migration.lease_holder} meanwhile", hint="purge it later"
                )
            values: dict[str, Any] = {"purged_at": now, "progress_data": _without_persons(migration, is_forgetting)}
            if is_forgetting:
                values |= {"did": FORGOTTEN + token, "handle": None, "error_text": None}
                connection.execute(update(attempts).where(attempts.c.token == token).values(error_text=None))
                forget_texts(connection, token)
            ledger_rows = connection.execute(delete(blobs).where(blobs.c.token == token)).rowcount
            passwords = delete_passwords(connection, token)
            connection.execute(update(migrations).where(migrations.c.token == token).values(**values))
        return PurgedRows(ledger_rows, passwords)


def open_purge(settings: Settings) -> Purge:
    """Raises SettingsError: the database cannot be opened."""
    return Purge(open_engine(settings))


def _is_free(now: datetime) -> ColumnElement[bool]:
    return migrations.c.lease_expires_at.is_(None) | (migrations.c.lease_expires_at <= now)


def _check_finished(migration: Migration, now: datetime) -> None:
    if migration.state not in PURGEABLE:
        raise ConflictError(
            f"{migration.token} is {migration.state}: what it needs is not purged",
            code="not_finished",
            hint=f"let it end, or give it up first: `eurosky migrations cancel {migration.token}`",
        )
    if is_held(migration, now):
        raise LeaseHeldError(
            f"{migration.token} is being worked on by run {migration.lease_holder}",
            hint="purge it when that run has ended; a dead one loses its hold within two minutes",
        )


def _without_persons(migration: Migration, is_forgetting: bool) -> dict[str, Any]:
    kept = {key: value for key, value in migration.progress_data.items() if key not in _PERSONAL_PROGRESS}
    return {key: value for key, value in kept.items() if isinstance(value, int | float)} if is_forgetting else kept
