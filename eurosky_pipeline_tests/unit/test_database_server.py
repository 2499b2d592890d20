"""The registry's schema on a real PostgreSQL: made once however many come, and left alone where it is not ours."""

import multiprocessing
import sqlite3
import time
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry import database
from eurosky_pipeline.registry.database import SCHEMA_HEAD, VERSION_TABLE, open_engine, server_url
from eurosky_pipeline.registry.tables import metadata
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.postgres import PASSWORD, PostgresServer, settings_of


@pytest.fixture
def name(empty_postgres_url: str) -> str:
    return empty_postgres_url.rpartition("/")[2]


def tables_of(server: PostgresServer, name: str) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    return [row[0] for row in server.execute(name, query)]


def test_the_upgraded_schema_is_what_the_tables_say(tmp_path: Path, postgres_url: str) -> None:
    engine = open_engine(settings_of(tmp_path, postgres_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_indexes_and_their_conditions_are_what_the_tables_say(
    tmp_path: Path, postgres_url: str, empty_postgres_url: str
) -> None:
    declared = create_engine(empty_postgres_url)
    metadata.create_all(declared)
    upgraded = open_engine(settings_of(tmp_path, postgres_url))
    query = text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> :ours ORDER BY 1")
    found = []
    for engine in (upgraded, declared):
        with engine.connect() as connection:
            found.append(connection.execute(query, {"ours": VERSION_TABLE}).scalars().all())
        engine.dispose()
    assert found[0] == found[1] != []


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_each_spelling_of_the_url_is_understood(tmp_path: Path, postgres_url: str, scheme: str) -> None:
    url = postgres_url.replace("postgresql", scheme, 1)
    open_engine(settings_of(tmp_path, url)).dispose()


def test_connections_are_bounded_in_time_unless_the_url_says_otherwise(tmp_path: Path) -> None:
    url = server_url(settings_of(tmp_path, "postgresql://me:secret@db/eurosky?connect_timeout=60"))
    assert url is not None
    assert (url.query["connect_timeout"], url.query["keepalives_idle"]) == ("60", "30")
    assert "secret" not in str(url)


def test_a_table_of_dagsters_is_not_taken_for_ours(
    tmp_path: Path, empty_postgres_url: str, postgres_server: PostgresServer, name: str
) -> None:
    postgres_server.execute(name, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    postgres_server.execute(name, "INSERT INTO alembic_version VALUES ('of-dagster')")
    open_engine(settings_of(tmp_path, empty_postgres_url)).dispose()
    assert postgres_server.execute(name, "SELECT * FROM alembic_version") == [("of-dagster",)]
    assert postgres_server.execute(name, f"SELECT * FROM {VERSION_TABLE}") == [(SCHEMA_HEAD,)]


def test_an_upgrade_that_breaks_off_leaves_nothing_behind(
    tmp_path: Path, empty_postgres_url: str, postgres_server: PostgresServer, name: str
) -> None:
    postgres_server.execute(name, "CREATE TABLE blobs (in_the_way INTEGER)")  # the first revision makes it last
    with pytest.raises(SettingsError, match="already exists") as caught:
        open_engine(settings_of(tmp_path, empty_postgres_url))
    assert caught.value.code == "database_unavailable"
    assert tables_of(postgres_server, name) == ["blobs"]


def open_at_once(settings: Settings, barrier: Barrier) -> None:
    upgrade = database.upgrade

    def slowly(connection) -> None:
        upgrade(connection)
        time.sleep(0.3)  # before it commits

    database.upgrade = slowly
    barrier.wait(60)
    open_engine(settings).dispose()


def test_of_three_processes_that_come_first_at_once_one_makes_the_schema_and_the_others_wait(
    tmp_path: Path, empty_postgres_url: str, postgres_server: PostgresServer, name: str
) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    settings = settings_of(tmp_path, empty_postgres_url)
    processes = [context.Process(target=open_at_once, args=(settings, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert postgres_server.execute(name, f"SELECT * FROM {VERSION_TABLE}") == [(SCHEMA_HEAD,)]


def test_a_schema_that_is_newer_than_the_program_is_told_and_not_touched(settings: Settings, sql: Sql) -> None:
    open_engine(settings).dispose()
    try:
        sql(f"UPDATE {VERSION_TABLE} SET version_num = '9001'")
        with pytest.raises(
            SettingsError, match="the registry's schema is '9001', which this program does not know"
        ) as e:
            open_engine(settings)
        assert e.value.code == "schema_newer"
        assert "install that version" in e.value.hint
        assert sql(f"SELECT version_num FROM {VERSION_TABLE}") == [("9001",)]
    finally:
        sql(f"UPDATE {VERSION_TABLE} SET version_num = '{SCHEMA_HEAD}'")


def test_a_database_of_another_encoding_is_refused_while_it_is_empty(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(SettingsError, match="encoding is LATIN1") as caught:
        open_engine(settings_of(tmp_path, postgres_server.url("latin")))
    assert caught.value.code == "database_encoding"
    assert tables_of(postgres_server, "latin") == []
    postgres_server.drop("latin")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((PASSWORD, "another"), "password authentication failed"),
        (("/test_", "/nobody_made_"), "does not exist"),
        (("@127.0.0.1:", "@127.0.0.1:99999"), "invalid integer value"),
        ((PASSWORD, "%00"), "is not the URL"),
    ],
)
def test_what_the_server_refuses_is_one_clear_error_without_the_password(
    tmp_path: Path, postgres_url: str, change: tuple[str, str], told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        open_engine(settings_of(tmp_path, postgres_url.replace(*change)))
    assert caught.value.code in {"database_unavailable", "settings"}
    assert PASSWORD not in caught.value.with_hint()
    assert "\n" not in caught.value.message


def test_sqlite_and_postgresql_are_told_apart(tmp_path: Path) -> None:
    assert server_url(settings_of(tmp_path, None)) is None
    assert server_url(settings_of(tmp_path, f"sqlite:///{tmp_path}/x.sqlite")) is None
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
