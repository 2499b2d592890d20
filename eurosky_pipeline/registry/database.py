"""Opening the registry's database: the engine, and its schema brought up to date by Alembic.

The version table has a name of our own, since Dagster keeps its `alembic_version` in the same PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnClause, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.settings import Settings

VERSION_TABLE = "eurosky_schema_version"
SCHEMA_HEAD = "0003"
"""The newest schema revision; spares a start the import of Alembic where there is nothing to do."""

_BUSY_TIMEOUT_S = 30
_BUSY_PAUSE_S = 0.02


def open_engine(settings: Settings) -> Engine:
    """An engine on a database whose schema is current.

    Raises:
        SettingsError: `EUROSKY_DATABASE_URL` is no URL of a database that can be spoken to, the server does not
            answer or refuses us, or `EUROSKY_HOME` cannot be written. Never repeats the URL, which holds a password.
    """
    try:
        engine = _new_engine(settings)
    except (ArgumentError, ValueError, ImportError):
        raise SettingsError(
            "EUROSKY_DATABASE_URL is not the URL of a database that this installation can speak to",
            hint="write it like postgresql+psycopg2://user:password@host/name, or unset it for SQLite",
        ) from None
    try:
        if _schema_version(engine) != SCHEMA_HEAD:
            with engine.begin() as connection:
                upgrade(connection)
    except DatabaseError as error:
        engine.dispose()
        raise SettingsError(
            f"the registry's database cannot be opened: {' '.join(str(error.orig).split())}",
            code="database_unavailable",
            hint="check EUROSKY_DATABASE_URL and the server" if settings.database_url else "check EUROSKY_HOME",
        ) from None
    return engine


def is_embedded(settings: Settings) -> bool:
    """Whether the registry is the SQLite file in `EUROSKY_HOME`, which needs no server and no key from outside."""
    return settings.database_url is None or settings.database_url.get_secret_value().startswith("sqlite")


def upgrade(connection: Connection) -> None:
    """Bring the schema to its newest revision, inside the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "schema").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _new_engine(settings: Settings) -> Engine:
    if settings.database_url is None:
        path = settings.home / "registry.sqlite"
        try:
            settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
        except OSError as error:
            raise SettingsError(
                f"EUROSKY_HOME {settings.home} cannot be written: {error.strerror}", hint="set it to a writable folder"
            ) from None
        url = make_url("sqlite://").set(database=str(path))
    else:
        url = make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Let SQLAlchemy, not the driver, begin transactions (see `_begin_immediate`)."""
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("foreign_keys=ON", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Switch to WAL; two that open a new file at once meet here, where SQLite does not wait by itself."""
    deadline_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(_BUSY_PAUSE_S)


def _begin_immediate(connection: Connection) -> None:
    # a transaction that reads first and writes later would fail at once, and not wait, when another has written between
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _schema_version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        version: ColumnClause[str] = sql_column("version_num")
        found: str | None = connection.execute(select(version).select_from(sql_table(VERSION_TABLE))).scalar()
        return found
