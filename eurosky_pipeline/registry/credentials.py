"""The rows that hold passwords, inside the caller's transaction: sealed by the vault, kept for a time, and purged.

Tokens of sessions are never here: they live in the memory of the run that logged in, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import credentials, migrations
from eurosky_pipeline.registry.vault import Side, Vault

CREDENTIAL_LIFETIME: Final = timedelta(hours=48)
FINISHED_GRACE: Final = timedelta(hours=1)
"""How long a migration that is finished keeps its passwords, for who looks at it and runs it once more."""


@dataclass(frozen=True, slots=True)
class PurgedCredentials:
    """How many passwords a purge has deleted, by what they were deleted for; each is counted once."""

    given_up: int
    finished: int
    expired: int

    @property
    def total(self) -> int:
        return self.given_up + self.finished + self.expired


def store_passwords(
    connection: Connection, vault: Vault, token: str, passwords: Mapping[Side, SecretStr], now: datetime
) -> None:
    """Keep these passwords, sealed, for their lifetime from now on; each takes the place of an older one."""
    until = now + CREDENTIAL_LIFETIME
    put_rows(
        connection,
        [
            {"token": token, "side": side, "ciphertext": vault.seal(token, side, password), "expires_at": until}
            for side, password in passwords.items()
        ],
    )


def put_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the table, each in the place of an older one of its migration and side.

    One statement that cannot fail for a row that another process has put meanwhile: PostgreSQL writes statements that
    fail into its log, and there nobody purges a ciphertext. In one order, so that two processes cannot deadlock.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    put = dialect.insert(credentials)
    put = put.on_conflict_do_update(
        index_elements=[credentials.c.token, credentials.c.side],
        set_={"ciphertext": put.excluded.ciphertext, "expires_at": put.excluded.expires_at},
    )
    if rows:
        connection.execute(put, sorted(rows, key=lambda row: (str(row["token"]), str(row["side"]))))


def read_password(connection: Connection, vault: Vault, token: str, side: Side, now: datetime) -> SecretStr | None:
    """As `Registry.password`."""
    query = select(credentials.c.ciphertext, credentials.c.expires_at).where(
        credentials.c.token == token, credentials.c.side == side
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.expires_at <= now:
        raise SettingsError(
            f"the {side} password of {token} has expired",
            code="credentials_expired",
            hint=f"`eurosky migrations retry {token} --{side}-password-env VAR` gives it anew; it is kept for 48 hours",
        )
    return vault.open(token, side, bytes(row.ciphertext))


def extend_passwords(connection: Connection, token: str, until: datetime, now: datetime) -> None:
    """Keep the passwords that have not expired until that moment, or as long as they would have been kept anyhow."""
    expiry = credentials.c.expires_at
    connection.execute(
        update(credentials).where(credentials.c.token == token, expiry > now, expiry < until).values(expires_at=until)
    )


def delete_passwords(connection: Connection, token: str) -> int:
    """How many of one migration's passwords there were; now there is none."""
    return connection.execute(delete(credentials).where(credentials.c.token == token)).rowcount


def has_passwords(engine: Engine) -> bool:
    """Whether any password of any migration is stored."""
    with engine.connect() as connection:
        return connection.execute(select(credentials.c.token).limit(1)).first() is not None


def purge(connection: Connection, now: datetime) -> PurgedCredentials:
    """Delete every password that nobody will need: of migrations that are completed or were given up, of those that
    are finished with nothing missing since `FINISHED_GRACE`, and what has expired.

    One that a run works on keeps its own until the run ends, but for what has expired.
    """
    given_up, finished, expired = (
        connection.execute(delete(credentials).where(condition)).rowcount for condition in _useless(now)
    )
    return PurgedCredentials(given_up, finished, expired)


def count_useless(connection: Connection, now: datetime) -> int:
    """How many `purge` would delete, or more: what has two reasons is counted for each."""
    queries = (select(func.count()).select_from(credentials).where(condition) for condition in _useless(now))
    return sum(connection.execute(query).scalar_one() for query in queries)


def _useless(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """Given up, finished, expired."""
    columns = migrations.c
    is_at_rest = columns.lease_expires_at.is_(None) | (columns.lease_expires_at <= now)
    is_complete = columns.progress_data["reconciliation_status"].as_string() == "complete"
    is_given_up = columns.state.in_([State.CANCELLED, State.COMPLETED])
    is_finished = (columns.state == State.PENDING_PREFS) & (columns.updated_at <= now - FINISHED_GRACE)
    return (
        _belongs_to(is_given_up & is_at_rest),
        _belongs_to(is_finished & is_complete & is_at_rest),
        credentials.c.expires_at <= now,
    )


def _belongs_to(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return credentials.c.token.in_(select(migrations.c.token).where(condition))
