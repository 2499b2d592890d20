"""Changing the vault's key: every stored password sealed anew with the newest one, beside running migrations.

    settings' keys      new,old ── every row: old → new ──────────▶ the operator takes the old one out of the settings
    key file      old ▶ new,old ── every row: old → new ──▶ new     the file's keys, in the same order of steps

A row is only replaced where it still is what was read (compare-and-set), so that a password that is given anew at the
same moment stays. With the key file, a process that seals holds the database's one write lock while it does, and looks
at the file under it: once the last row has been looked at under that lock, nobody can use the old key any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, bindparam, delete, event, select, tuple_, update

from eurosky_pipeline.registry.credentials import has_passwords
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.key_file import KeyFile
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.tables import credentials
from eurosky_pipeline.registry.vault import Side, Vault, VaultError, key_file, new_key, open_vault
from eurosky_pipeline.settings import Settings

_BATCH_ROWS: Final = 200
_MAX_ROUNDS: Final = 5
"""Others may seal with the older key while rows are read, where each host has its own settings."""
_RESEAL: Final = (
    update(credentials)
    .where(
        credentials.c.token == bindparam("of_token"),
        credentials.c.side == bindparam("of_side"),
        credentials.c.ciphertext == bindparam("read"),
    )
    .values(ciphertext=bindparam("anew"))
)


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """What the vault holds, without a secret.

    Attributes:
        newest, older: passwords by the key that they are sealed with.
        unreadable: token and side of those that no key opens, or that belong elsewhere.
        earliest_expiry: UTC; None if there is no password.
        key_count: keys that the settings, or the file, hold.
        is_key_in_file: whether the keys are in the embedded default's own file.
    """

    newest: int
    older: int
    unreadable: tuple[tuple[str, str], ...]
    earliest_expiry: datetime | None
    key_count: int
    is_key_in_file: bool


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation has done.

    Attributes:
        rotated, unchanged: passwords that have been sealed anew; that were sealed with the newest key before.
        unreadable: token and side of those that no key opens; with `dropped` they are gone.
        dropped: how many unreadable ones were deleted.
        older_left: passwords that are still sealed with an older key: another host seals with it.
        is_key_new: whether a key was made; False where an earlier rotation was gone on with.
        is_key_in_file: whether the keys are in the embedded default's own file.
        key_count: keys that are left.
    """

    rotated: int
    unchanged: int
    unreadable: tuple[tuple[str, str], ...]
    dropped: int
    older_left: int
    is_key_new: bool
    is_key_in_file: bool
    key_count: int


@dataclass(slots=True)
class _Round:
    """One look at every row."""

    newest: int = 0
    older: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def take(self, part: _Round) -> None:
        self.newest += part.newest
        self.older += part.older
        self.unreadable += part.unreadable


class Rotation:
    """The stored passwords and their keys, for who changes or counts them."""

    def __init__(self, engine: Engine, vault: Vault, file: KeyFile | None) -> None:
        self._engine = engine
        self._vault = vault
        self._file = file

    def close(self) -> None:
        self._engine.dispose()

    def status(self) -> VaultStatus:
        """Look at every password. Raises SettingsError for keys that cannot be used, or that are lost."""
        found, earliest = _Round(), None
        for rows in _pages(self._engine):
            for row in rows:
                _count(found, self._opened(row), row)
                earliest = row.expires_at if earliest is None else min(earliest, row.expires_at)
        return VaultStatus(
            found.newest,
            found.older,
            tuple(found.unreadable),
            earliest,
            self._vault.key_count,
            self._file is not None,
        )

    def rotate(self, *, is_dropping: bool = False) -> Rotated:
        """Seal every password with the newest key; with the key file, a key that is made for it.

        Can be stopped at any moment, and run again: it goes on with the key that it has made.

        Args:
            is_dropping: delete the passwords that no key opens; also the way out where the key file is lost.

        Raises: SettingsError for keys that cannot be used, or, unless `is_dropping`, that are lost.
        """
        dropped = self._drop_all_if_lost() if is_dropping else 0
        is_key_new = self._has_new_key()
        rotated, unchanged = 0, None
        for _ in range(_MAX_ROUNDS):
            found = _Round()
            for rows in _pages(self._engine):
                rotated += self._reseal(rows, found)
            unchanged = found.newest if unchanged is None else unchanged
            if is_dropping:
                dropped += self._drop(found.unreadable)
            if not (older_left := self._finish(is_dropping=is_dropping)):
                break
        return Rotated(
            rotated=rotated,
            unchanged=unchanged or 0,
            unreadable=tuple(found.unreadable),
            dropped=dropped,
            older_left=older_left,
            is_key_new=is_key_new,
            is_key_in_file=self._file is not None,
            key_count=self._vault.key_count,
        )

    def _has_new_key(self) -> bool:
        """Where the file holds one key, put a new one before it; of two at once one does, under the write lock."""
        if self._file is None:
            return False
        with self._engine.begin():
            keys = self._file.keys()
            if self._vault.key_count > 1:
                return False
            self._file.replace([new_key().encode(), *keys])
            return True

    @patient
    def _reseal(self, rows: list[Row[Any]], found: _Round) -> int:
        """How many of these rows have been sealed anew."""
        changes, looked = 0, _Round()
        with self._engine.begin() as connection:
            for row in rows:
                opened = self._opened(row)
                _count(looked, opened, row)
                if opened is None or opened[0] == 0:
                    continue
                anew = self._vault.seal(row.token, Side(row.side), opened[1])
                place = {"of_token": row.token, "of_side": row.side, "read": row.ciphertext}
                changes += connection.execute(_RESEAL, {**place, "anew": anew}).rowcount
        found.take(looked)
        return changes

    def _finish(self, *, is_dropping: bool) -> int:
        """How many rows are not sealed with the newest key; if none, the file's older keys go."""
        found = _Round()
        if self._file is None:
            for rows in _pages(self._engine):
                for row in rows:
                    _count(found, self._opened(row), row)
            return found.older
        with self._engine.begin() as connection:  # the write lock: nobody seals meanwhile
            for rows in _pages_on(connection):
                for row in rows:
                    _count(found, self._opened(row), row)
            if not found.older and (is_dropping or not found.unreadable):
                self._file.replace(self._file.keys()[:1])
        return found.older

    def _drop(self, unreadable: list[tuple[str, str]]) -> int:
        """Delete those that still cannot be read: one may have been given anew since it was looked at."""
        dropped = 0
        for token, side in unreadable:
            with self._engine.begin() as connection:
                row = connection.execute(select(credentials).where(*_is(token, side))).one_or_none()
                if row is not None and self._opened(row) is None:
                    where = (*_is(token, side), credentials.c.ciphertext == row.ciphertext)
                    dropped += connection.execute(delete(credentials).where(*where)).rowcount
        return dropped

    def _drop_all_if_lost(self) -> int:
        """Where the key file is gone: nothing can be read any more, and a new key begins anew."""
        if self._file is None:
            return 0
        with self._engine.begin() as connection:
            if self._file.path.exists():
                return 0
            dropped = connection.execute(delete(credentials)).rowcount
        self._file.make(new_key())
        return dropped

    def _opened(self, row: Row[Any]) -> tuple[int, Any] | None:
        try:
            return self._vault.open_with(row.token, Side(row.side), bytes(row.ciphertext))
        except (VaultError, ValueError):  # no key fits, or it is of another migration or side
            return None


def open_rotation(settings: Settings) -> Rotation:
    """Raises SettingsError: the database cannot be opened, or the keys cannot be used."""
    engine = open_engine(settings)
    if engine.dialect.name == "sqlite":
        engine.dispose()
        event.listen(engine, "connect", _commit_durably)
    return Rotation(engine, open_vault(settings, lambda: has_passwords(engine)), key_file(settings))


def _commit_durably(connection: Any, _record: Any) -> None:
    """The old key goes once the rows are sealed anew: after a loss of power they must still be."""
    connection.execute("PRAGMA synchronous=FULL")


def _is(token: str, side: str) -> tuple[Any, Any]:
    return credentials.c.token == token, credentials.c.side == side


def _count(found: _Round, opened: tuple[int, Any] | None, row: Row[Any]) -> None:
    if opened is None:
        found.unreadable.append((row.token, row.side))
    elif opened[0] == 0:
        found.newest += 1
    else:
        found.older += 1


def _pages(engine: Engine) -> Iterator[list[Row[Any]]]:
    """Every row, with no connection held between two pages."""
    last = ("", "")
    while rows := _page_of(engine, last):
        yield rows
        last = (rows[-1].token, rows[-1].side)


@patient
def _page_of(engine: Engine, after: tuple[str, str]) -> list[Row[Any]]:
    with engine.connect() as connection:
        return _page(connection, after)


def _pages_on(connection: Connection) -> Iterator[list[Row[Any]]]:
    last = ("", "")
    while rows := _page(connection, last):
        yield rows
        last = (rows[-1].token, rows[-1].side)


def _page(connection: Connection, after: tuple[str, str]) -> list[Row[Any]]:
    place = tuple_(credentials.c.token, credentials.c.side)
    query = select(credentials).where(place > after).order_by(credentials.c.token, credentials.c.side)
    return list(connection.execute(query.limit(_BATCH_ROWS)))
