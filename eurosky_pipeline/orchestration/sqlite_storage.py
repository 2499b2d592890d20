"""Dagster's storage on SQLite, in its own layout, without what makes it dear to short runs.

`dagster` by itself makes a new engine, and so compiles each statement anew, for each of the two hundred questions that
a run of ours asks; and reads all its Alembic revisions to see that a database has one. Here engines are kept, a few of
them, and a database that says its revision is taken at its word. What is stored, and where, is the same: either may
open what the other has made.

An event of a run may be lost with the machine's power, as the run itself is then; with the process it is not.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event

MAX_ENGINES = 16
"""Of one storage, each with the connections that were asked for at once."""
_BUSY_S = 30.0
_SCHEMA = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"


class Engines:
    """An engine for each database file, the ones that were used last; threads may share it."""

    def __init__(self, *, is_synchronous: bool = True) -> None:
        """`is_synchronous`: whether each commit is on the disk when it is over; else only never half."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()
        self._is_synchronous = is_synchronous

    @contextmanager
    def begin(self, url: str) -> Iterator[Connection]:
        """A transaction; in a thread that has one there already, one of its own."""
        with self.of(url).begin() as connection:
            yield connection

    def of(self, url: str) -> Engine:
        with self._lock:
            engine = self._engines.get(url)
            if engine is None:
                engine = self._engines[url] = self._new(url)
            self._engines.move_to_end(url)
            if len(self._engines) > MAX_ENGINES:
                self._engines.popitem(last=False)[1].dispose()  # a connection in use closes when it is given back
            return engine

    def dispose(self) -> None:
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].dispose()

    def _new(self, url: str) -> Engine:
        engine = create_engine(
            url, poolclass=QueuePool, pool_size=1, max_overflow=-1, connect_args={"timeout": _BUSY_S}
        )
        if not self._is_synchronous:
            event.listen(engine, "connect", _let_the_log_wait)
        return engine


class KeptRunStorage(SqliteRunStorage):
    """Runs, heartbeats of the daemon, backfills."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines()
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        if _is_made(Path(base_dir) / "runs.db", "instance_info"):
            return cls(create_db_conn_string(base_dir, "runs"), inst_data)
        return super().from_local(base_dir, inst_data)

    def connect(self) -> Any:
        return self._engines.begin(self._conn_string)

    def dispose(self) -> None:
        self._engines.dispose()


class KeptScheduleStorage(SqliteScheduleStorage):
    """Schedules, sensors, and their ticks."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines()
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> "KeptScheduleStorage":
        conn_string = create_db_conn_string(base_dir, "schedules")
        if not _is_made(Path(base_dir) / "schedules.db", "job_ticks"):
            super().from_local(base_dir, inst_data)
        return cls(conn_string, inst_data)

    def connect(self) -> Any:
        return self._engines.begin(self._conn_string)

    def dispose(self) -> None:
        self._engines.dispose()


class KeptEventLogStorage(SqliteEventLogStorage):
    """Events: a database for each run, and one for those of assets, checks and partitions."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines(is_synchronous=False)
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                self._initdb(self._engines.of(url))
                self._initialized_dbs.add(shard)
            with self._engines.begin(url) as connection:
                yield connection

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        path = Path(engine.url.database or "")
        if for_index_shard:
            super()._initdb(engine, for_index_shard)
        elif not _is_made(path, "event_logs"):
            _make_shard(path)

    def dispose(self) -> None:
        super().dispose()
        self._engines.dispose()


class KeptSqliteStorage(DagsterSqliteStorage):
    """The three of them in Dagster's folder."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = KeptRunStorage.from_local(str(Path(base_dir) / "history"))
        self._event_log_storage = KeptEventLogStorage(str(Path(base_dir) / "history" / "runs"))
        self._schedule_storage = KeptScheduleStorage.from_local(str(Path(base_dir) / "schedules"))
        self._inst_data = inst_data
        # the parent's own would make storages that keep nothing
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]


def _let_the_log_wait(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _is_made(path: Path, table: str) -> bool:
    """Whether the database is there, says a revision, and has this table."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - a constant of this module
            return connection.execute("SELECT version_num FROM alembic_version").fetchone() is not None
    except sqlite3.OperationalError:
        return False


def _make_shard(path: Path) -> None:
    """Make a run's database, as Dagster would; of two that do it at once, one does."""
    with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            for statement in _shard_schema():
                connection.execute(statement)
        connection.execute("COMMIT")


@cache
def _shard_schema() -> tuple[str, ...]:
    """The statements that make a run's database, by asking Dagster for one in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    nobodys = SqliteEventLogStorage.__new__(SqliteEventLogStorage)
    SqliteEventLogStorage._initdb(nobodys, engine)
    with engine.connect() as connection:
        made = connection.exec_driver_sql(_SCHEMA).scalars().all()
        revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    engine.dispose()
    return (*made, f"INSERT INTO alembic_version (version_num) VALUES ('{revision}')")  # noqa: S608 - Alembic's own
