"""Dagster's storage on PostgreSQL, which outlasts a restart of the server.

`dagster_postgres` by itself tries to connect for six seconds, and does nothing again that breaks off after that: a run
whose event is being written while the server restarts fails. Here each call of a storage is done again until the
server is back (`registry.patience`). An event that was written, and whose answer was lost, may so stand in a run's log
twice.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

from dagster._core.storage.event_log import EventLogStorage
from dagster._core.storage.runs import RunStorage
from dagster._core.storage.schedules import ScheduleStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy import URL, Connection, NullPool, QueuePool, create_engine, text

from eurosky_pipeline.registry.patience import outlast, patient

CREATION_LOCK = 0x6461677374657273
"""PostgreSQL's advisory lock of whoever opens Dagster's storage: the first one makes its tables."""
_CREATION_WAIT_S = 120
_KEPT_FOR_S = 240
"""A connection older than that is not used again: what stands between, a firewall say, may have forgotten it."""
_thread = threading.local()
"""`is_patient` within a call that is done again already: calls within it are not, each for itself."""

Storage = TypeVar("Storage", bound=type)


def open_postgres_storage(url: URL, inst_data: ConfigurableClassData | None = None) -> "PatientPostgresStorage":
    """The storage, its tables there; of several that come first at once, on one machine or many, one makes them.

    Raises: sqlalchemy's OperationalError if the server stays away.
    """
    engine = create_engine(url, poolclass=NullPool)

    def open_alone() -> PatientPostgresStorage:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_CREATION_WAIT_S}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
            return PatientPostgresStorage(url.render_as_string(hide_password=False), inst_data=inst_data)

    return outlast(open_alone)


def _patient(interface: type) -> Callable[[Storage], Storage]:
    """Every public method that the interface names is done again while the server is away."""

    def decorate(storage: Storage) -> Storage:
        for name in dir(interface):
            method = inspect.getattr_static(storage, name)
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(storage, name, _again(method))
        return storage

    return decorate


def _again(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def outlasting(*args: Any, **kwargs: Any) -> Any:
        if getattr(_thread, "is_patient", False):
            return method(*args, **kwargs)
        _thread.is_patient = True
        try:
            return patient(method)(*args, **kwargs)
        finally:
            _thread.is_patient = False

    return outlasting


@contextmanager
def _connection(storage: Any) -> Iterator[Connection]:
    """In place of Dagster's own, which tries again by itself, and hides the error that `tries` looks for."""
    with storage._engine.connect() as connection:
        yield connection


@_patient(RunStorage)
class PatientRunStorage(PostgresRunStorage):
    """Runs, heartbeats of the daemon, backfills."""

    def connect(self) -> Any:
        return _connection(self)


@_patient(EventLogStorage)
class PatientEventLogStorage(PostgresEventLogStorage):
    """Events of runs, assets and their checks, partitions."""

    def _connect(self) -> Any:
        return _connection(self)

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()  # of all three


@_patient(ScheduleStorage)
class PatientScheduleStorage(PostgresScheduleStorage):
    """Schedules, sensors, and their ticks."""

    def connect(self, run_id: str | None = None) -> Any:  # noqa: ARG002
        return _connection(self)


class PatientPostgresStorage(DagsterPostgresStorage):
    """The three of them in one database."""

    def __init__(self, postgres_url: str, *, inst_data: ConfigurableClassData | None = None) -> None:
        self.postgres_url = postgres_url
        self.should_autocreate_tables = True
        self._inst_data = inst_data
        self._run_storage = PatientRunStorage(postgres_url)
        self._event_log_storage = PatientEventLogStorage(postgres_url)
        self._schedule_storage = PatientScheduleStorage(postgres_url)
        _keep_a_connection(self._run_storage, self._event_log_storage, self._schedule_storage)
        # the parent's own would make storages that are not patient
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]


def _keep_a_connection(*storages: Any) -> None:
    """One engine for all three, with one connection that stays open between two calls; who asks at the same time has
    another, for that call. Dagster's own opens one for each call: two hundred in a run."""
    url = storages[0].postgres_url
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",  # as Dagster's own
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        pool_recycle=_KEPT_FOR_S,
    )
    for storage in storages:
        storage._engine.dispose()
        storage._engine = engine
