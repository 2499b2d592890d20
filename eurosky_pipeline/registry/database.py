"""Opening the registry's database: the engine, and its schema brought up to date by Alembic.

The version table has a name of our own, since Dagster keeps its `alembic_version` in the same PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, ColumnClause, Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.patience import outlast, said
from eurosky_pipeline.settings import Settings

VERSION_TABLE = "eurosky_schema_version"
SCHEMA_HEAD = "0004"
"""The newest schema revision; spares a start the import of Alembic where there is nothing to do."""
UPGRADE_LOCK: Final = 0x6575726F736B79
"""PostgreSQL's advisory lock of whoever changes the registry's schema."""

_BUSY_TIMEOUT_S = 30
_BUSY_PAUSE_S = 0.02
_UPGRADE_WAIT_S = 300
_LOCK_WAIT_S = 30
_IDLE_S = 120
"""What holds locks, and says nothing for so long, is a process that is gone."""
_POSTGRES_DRIVERS: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg2"})
_POSTGRES_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "client_encoding": "utf8",
    "application_name": "eurosky",
}
"""So that a server that has vanished is noticed within a minute; what the URL says for itself goes before."""


def open_engine(settings: Settings, *, patience_s: float = 0) -> Engine:
    """An engine on a database whose schema is current.

    Args:
        patience_s: how long a server may be away until that is an error: nothing for a command, which a person waits
            for; more for what runs by itself.

    Raises:
        SettingsError: `EUROSKY_DATABASE_URL` is no URL of a database that can be spoken to, the server does not
            answer or refuses us, its schema is newer than this program, or `EUROSKY_HOME` cannot be written. Never
            repeats the URL, which holds a password.
    """
    try:
        engine = _new_engine(settings)
    except (ArgumentError, ValueError, ImportError):
        raise _no_url() from None
    try:
        outlast(partial(_bring_up_to_date, engine), patience_s=patience_s)
    except DatabaseError as error:
        engine.dispose()
        raise _not_opened(settings, error) from None
    except (ArgumentError, ValueError):  # found out no sooner than the driver takes it apart
        engine.dispose()
        raise _no_url() from None
    except SettingsError:
        engine.dispose()
        raise
    return engine


def existing_engine(settings: Settings) -> Engine | None:
    """An engine on the registry as it is, for who only reads: no file, folder or table is made, no schema upgraded.

    Returns: None if there is no registry yet.
    Raises: SettingsError as `open_engine`.
    """
    if is_embedded(settings) and not _has_file(settings):
        return None
    try:
        engine = _new_engine(settings)
    except (ArgumentError, ValueError, ImportError):
        raise _no_url() from None
    try:
        with engine.connect() as connection:
            version = _schema_version(connection)
    except DatabaseError as error:
        engine.dispose()
        raise _not_opened(settings, error) from None
    if version is not None and version <= SCHEMA_HEAD:
        return engine
    engine.dispose()
    if version is not None:
        raise _newer_schema(version)
    return None


def read_only_engine(settings: Settings) -> Engine | None:
    """The same, unable to write, and in nobody's way who does: what is read is of the moment when a transaction began.

    Returns, raises: as `existing_engine`.
    """
    engine = existing_engine(settings)
    if engine is None or engine.dialect.name != "sqlite":
        return None if engine is None else engine.execution_options(postgresql_readonly=True)
    event.remove(engine, "begin", _begin_immediate)
    event.listen(engine, "begin", _begin_to_read)
    event.listen(engine, "connect", _forbid_writing)
    engine.dispose()  # the connection that has looked at the schema may still write
    return engine


def is_embedded(settings: Settings) -> bool:
    """Whether the registry is the SQLite file in `EUROSKY_HOME`, which needs no server and no key from outside."""
    return settings.database_url is None or settings.database_url.get_secret_value().startswith("sqlite")


def server_url(settings: Settings) -> URL | None:
    """The PostgreSQL of the settings, driver and bounds in time included; None where SQLite is used.

    Raises: SettingsError for what is no URL, or one of another database.
    """
    if is_embedded(settings) or settings.database_url is None:
        return None
    try:
        url = make_url(settings.database_url.get_secret_value())
    except (ArgumentError, ValueError):
        raise _no_url() from None
    if url.drivername not in _POSTGRES_DRIVERS:
        raise _no_url()
    return url.set(drivername="postgresql+psycopg2", query={**_POSTGRES_DEFAULTS, **url.query})


def upgrade(connection: Connection) -> None:
    """Bring the schema to its newest revision, inside the connection's transaction.

    Of two that come at once one does it, and the other finds it done.

    Raises: SettingsError, code `schema_newer`: a newer program has been here. Nothing is changed.
    """
    try:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
    except UnicodeDecodeError:  # it looks for plugins of its own
        from eurosky_pipeline.plugins.discovery import damaged_package_error

        raise damaged_package_error() from None

    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_UPGRADE_WAIT_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "schema").replace("%", "%%"))
    config.attributes["connection"] = connection
    found = _schema_version(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise _newer_schema(found)
    if found is None and connection.dialect.name == "postgresql":
        encoding = connection.execute(text("SHOW server_encoding")).scalar()
        if encoding != "UTF8":
            raise SettingsError(
                f"the database's encoding is {encoding}, and names and texts of hosts need UTF8",
                code="database_encoding",
                hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
    command.upgrade(config, "head")


def _has_file(settings: Settings) -> bool:
    if settings.database_url is None:
        return (settings.home / "registry.sqlite").exists()
    try:
        named = make_url(settings.database_url.get_secret_value()).database
    except (ArgumentError, ValueError):
        raise _no_url() from None
    return bool(named) and Path(str(named)).exists()


def _not_opened(settings: Settings, error: DatabaseError) -> SettingsError:
    return SettingsError(
        f"the registry's database cannot be opened: {said(error)}",
        code="database_unavailable",
        hint="check EUROSKY_DATABASE_URL and the server" if settings.database_url else "check EUROSKY_HOME",
    )


def _bring_up_to_date(engine: Engine) -> None:
    with engine.connect() as connection:
        found = _schema_version(connection)
    if found != SCHEMA_HEAD:
        with engine.begin() as connection:
            upgrade(connection)


def _new_engine(settings: Settings) -> Engine:
    url = server_url(settings)
    if url is not None:
        engine = create_engine(url, pool_pre_ping=True, pool_size=2, max_overflow=8, pool_recycle=3600)
        event.listen(engine, "connect", _configure_postgres)
        return engine
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
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Let SQLAlchemy, not the driver, begin transactions (see `_begin_immediate`)."""
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("foreign_keys=ON", "synchronous=NORMAL", "secure_delete=ON"):
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


def _begin_to_read(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _forbid_writing(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only=ON")


def _configure_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{_LOCK_WAIT_S}s'; SET idle_in_transaction_session_timeout = '{_IDLE_S}s'")
    connection.commit()


def _newer_schema(version: str) -> SettingsError:
    return SettingsError(
        f"the registry's schema is {version!r}, which this program does not know: its newest is {SCHEMA_HEAD}",
        code="schema_newer",
        hint="a newer eurosky has been here; install that version, or restore the backup from before",
    )


def _schema_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: ColumnClause[str] = sql_column("version_num")
    found: str | None = connection.execute(select(version).select_from(sql_table(VERSION_TABLE))).scalar()
    return found


def _no_url() -> SettingsError:
    return SettingsError(
        "EUROSKY_DATABASE_URL is not the URL of a database that this installation can speak to",
        hint="write it like postgresql://user:password@host/name, or unset it for SQLite",
    )
