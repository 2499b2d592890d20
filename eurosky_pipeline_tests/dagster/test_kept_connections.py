"""Dagster's storage keeps what it has open: fewer connections, and nothing else is different."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from dagster import DagsterInstance, job
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import event

from eurosky_pipeline.orchestration import sqlite_storage
from eurosky_pipeline.orchestration.instance import INSTANCE_FILE, open_instance, prepare_instance
from eurosky_pipeline.orchestration.sqlite_storage import Engines, KeptEventLogStorage, KeptSqliteStorage
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.postgres import PostgresServer


@job
def nothing() -> None:
    pass


def run_it(instance: DagsterInstance) -> str:
    result = nothing.execute_in_process(instance=instance)
    assert result.success
    return result.run_id


def connections_made(work) -> int:
    made: list[object] = []

    def count(*_: object) -> None:
        made.append(1)

    event.listen(sqlite_storage.QueuePool, "connect", count)
    try:
        work()
    finally:
        event.remove(sqlite_storage.QueuePool, "connect", count)
    return len(made)


def test_a_run_opens_its_databases_once(home: Path) -> None:
    prepare_instance(load_settings())
    with open_instance() as instance:
        run_it(instance)
        assert connections_made(lambda: run_it(instance)) <= 2  # its own shard's; the others are open


def test_dagsters_own_storage_reads_what_ours_has_written_and_the_other_way_round(home: Path) -> None:
    prepare_instance(load_settings())
    file = load_settings().resolved_dagster_home / "dagster.yaml"
    with open_instance() as ours:
        first = run_it(ours)
        seen = [entry.to_json() for entry in ours.all_logs(first)]
        assert isinstance(ours.event_log_storage, KeptEventLogStorage)
    file.write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.get() as theirs:
        assert type(theirs.event_log_storage).__name__ == "SqliteEventLogStorage"
        assert [entry.to_json() for entry in theirs.all_logs(first)] == seen
        assert theirs.event_log_storage.alembic_version()[0] == theirs.event_log_storage.alembic_version()[1]
        second = run_it(theirs)
    file.write_text(INSTANCE_FILE.read_text())
    with open_instance() as ours:
        assert ours.get_run_by_id(second).is_success
        assert len(ours.all_logs(second)) == len(seen)


def test_a_runs_database_is_the_one_that_dagster_would_have_made(tmp_path: Path) -> None:
    made = {}
    for name, storage in {"ours": KeptSqliteStorage, "theirs": DagsterSqliteStorage}.items():
        log = storage.from_local(str(tmp_path / name)).event_log_storage
        with log.run_connection("a-run") as connection:
            made[name] = [
                connection.exec_driver_sql(f"PRAGMA {each}").scalar() for each in ("journal_mode", "user_version")
            ] + [
                sorted(connection.exec_driver_sql(text).scalars())
                for text in ("SELECT sql FROM sqlite_master WHERE sql > ''", "SELECT version_num FROM alembic_version")
            ]
    assert made["ours"] == made["theirs"]


def test_several_that_make_a_runs_database_at_once_lose_no_event(tmp_path: Path) -> None:
    storages = [KeptEventLogStorage(str(tmp_path)) for _ in range(4)]
    barrier, failed = threading.Barrier(len(storages)), []

    def write(storage: KeptEventLogStorage, number: int) -> None:
        barrier.wait(30)
        try:
            with storage.run_connection("a-run") as connection:
                connection.exec_driver_sql(
                    "INSERT INTO event_logs (run_id, event, timestamp) VALUES ('a-run', ?, '2026-01-01')",
                    (str(number),),
                )
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(storage, n)) for n, storage in enumerate(storages)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    with storages[0].run_connection("a-run") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM event_logs").scalar() == len(storages)


def test_as_many_databases_as_there_are_only_a_few_stay_open(tmp_path: Path) -> None:
    engines = Engines()
    for number in range(sqlite_storage.MAX_ENGINES * 2):
        with engines.begin(f"sqlite:///{tmp_path / str(number)}.db") as connection:
            connection.exec_driver_sql("CREATE TABLE seen (number)")
    opened = [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve())]
    assert 0 < len(opened) <= sqlite_storage.MAX_ENGINES
    engines.dispose()
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve())]


def test_on_postgresql_one_connection_stays_open_and_none_when_it_is_closed(
    home: Path, empty_postgres_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUROSKY_DATABASE_URL", empty_postgres_url)
    prepare_instance(load_settings())
    name = empty_postgres_url.rpartition("/")[2]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    with open_instance() as instance:
        run_it(instance)
        assert postgres_server.execute(name, query) == [(1,)]
        assert connections_made(lambda: run_it(instance)) <= 1
    assert postgres_server.execute(name, query) == [(0,)]
