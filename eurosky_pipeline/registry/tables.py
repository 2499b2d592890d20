"""The tables, as SQLAlchemy Core has them; how they come to be is in `schema/versions`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.types import TypeEngine

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


class UtcDateTime(TypeDecorator[datetime]):
    """Aware moments in UTC, also on SQLite, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class HostText(TypeDecorator[str]):
    """Text that hosts have a part in: what a database cannot store (NUL, halves of surrogate pairs) is replaced.

    Args: length: what is longer is cut; None for no limit.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if self.length is None else String(self.length))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else storable(value)[: self.length]


class HostJson(TypeDecorator[Any]):
    """JSON of which the same is true: PostgreSQL would store it, and then fail at every look into it."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return _storable_json(value)


def storable(text: str) -> str:
    """The text with U+FFFD in the place of what no database stores."""
    return _UNSTORABLE.sub("\ufffd", text)


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): _storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_json(item) for item in value]
    return value


ONE_ACTIVE_PER_DID = "ix_migrations_one_active_per_did"

metadata = MetaData()

migrations = Table(
    "migrations",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("did", Text, nullable=False),
    Column("handle", HostText()),
    Column("source_pds", Text, nullable=False),
    Column("destination_pds", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("stopped_in", String(32)),
    Column("resume_at", UtcDateTime),
    Column("error_code", HostText(64)),
    Column("error_text", HostText()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("convert_legacy_blobs", Boolean),
    Column("is_active_destination_allowed", Boolean, nullable=False, server_default=text("false")),
    Column("progress_data", HostJson, nullable=False),
    Column("lease_holder", Text),
    Column("lease_expires_at", UtcDateTime),
    Column("cancel_requested_at", UtcDateTime),
    Column("purged_at", UtcDateTime),
    Column("start_wanted_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(
        ONE_ACTIVE_PER_DID,
        "did",
        unique=True,
        sqlite_where=text("state NOT IN ('failed', 'cancelled', 'completed')"),
        postgresql_where=text("state NOT IN ('failed', 'cancelled', 'completed')"),
    ),
    Index("ix_migrations_state", "state"),
    Index("ix_migrations_did", "did"),
    Index("ix_migrations_created", "created_at", "token"),
    Index("ix_migrations_start_wanted", "start_wanted_at", "token"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("token", String(32), ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("started_in", String(32), nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_in", String(32)),
    Column("error_code", HostText(64)),
    Column("error_text", HostText()),
)

credentials = Table(
    "credentials",
    metadata,
    Column("token", String(32), ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
    Column("side", String(16), primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("ix_credentials_expiry", "expires_at"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("token", String(32), ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
    Column("blob_cid", String(64), primary_key=True),
    Column("outcome", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mime_type", HostText(), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("bytes_moved", BigInteger, nullable=False, server_default="0"),
    Column("download_s", Float, nullable=False, server_default="0"),
    Column("upload_s", Float, nullable=False, server_default="0"),
    Column("error_class", String(16), nullable=False, server_default=text("''")),
    Column("error_code", HostText(64), nullable=False, server_default=text("''")),
    Column("error_text", HostText(), nullable=False, server_default=text("''")),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
)

controls = Table(
    "controls",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", HostText(), nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("token", String(32), ForeignKey("migrations.token", ondelete="CASCADE"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("state_before", String(32)),
    Column("state_after", String(32), nullable=False),
    Column("error_code", HostText(64)),
    Column("error_text", HostText()),
    Column("summary", HostJson, nullable=False),
    Column("happened_at", UtcDateTime, nullable=False),
    Index("ix_events_token", "token"),
    sqlite_autoincrement=True,  # an id is never given again: by it receivers know what they have had
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
    Column("sink", String(64), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_try_at", UtcDateTime),
    Column("error_text", HostText(), nullable=False, server_default=text("''")),
    Column("updated_at", UtcDateTime, nullable=False),
)
