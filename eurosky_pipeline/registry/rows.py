"""One migration's row, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.migration import Migration, NewMigration, is_token
from eurosky_pipeline.registry.outbox import tell_registered
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.tables import migrations


def insert_row(connection: Connection, token: str, new: NewMigration, now: datetime) -> None:
    """Raises sqlalchemy's IntegrityError if the DID has an active migration."""
    connection.execute(insert(migrations).values(**new_row(token, new, now)))
    tell_registered(connection, [token])


def new_row(token: str, new: NewMigration, now: datetime) -> dict[str, Any]:
    """The columns of a migration that begins now."""
    return {
        "token": token,
        "did": new.did,
        "handle": new.handle,
        "source_pds": new.source_pds,
        "destination_pds": new.destination_pds,
        "state": State.PENDING_REPO,
        "convert_legacy_blobs": new.convert_legacy_blobs,
        "is_active_destination_allowed": new.is_active_destination_allowed,
        "progress_data": {},
        "start_wanted_at": now,
        "created_at": now,
        "updated_at": now,
    }


def read_row(connection: Connection, token: str) -> Migration:
    """Raises SettingsError if there is no such migration."""
    query = select(migrations).where(migrations.c.token == token)
    row = connection.execute(query).mappings().one_or_none() if is_token(token) else None
    if row is None:
        raise SettingsError(
            f"there is no migration {token[:40]!r}",
            code="unknown_token",
            hint="`eurosky migrations list` shows them all",
        )
    return Migration.from_row(row)


def merge_progress(connection: Connection, token: str, changes: Mapping[str, Any], now: datetime) -> None:
    """Put `changes` into `progress_data`; None removes a key."""
    if not changes:
        return
    query = select(migrations.c.progress_data).where(migrations.c.token == token)
    query = query.with_for_update(key_share=True)  # a row of the ledger refers to it, and must not wait for this
    merged = {**connection.execute(query).scalar_one(), **changes}
    kept = {key: value for key, value in merged.items() if value is not None}
    connection.execute(update(migrations).where(migrations.c.token == token).values(progress_data=kept, updated_at=now))
