"""Fixtures for all tests: a registry on each of the two databases. How PostgreSQL gets here is in `postgres`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.postgres import PostgresServer, running_postgres, settings_of

Sql = Callable[..., list[Any]]
_OURS = ("EUROSKY", "DAGSTER")


@pytest.fixture(autouse=True)
def _settings_as_they_were() -> Iterator[None]:
    """What a test, or what it calls, puts into the environment is gone when it ends: `prepare_instance` names Dagster's
    folder there, and the next test would look into it."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    yield
    for name in [name for name in os.environ if name.startswith(_OURS) and name not in before]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server whose databases are `postgres` and what the tests make. Who stops it starts it again."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A new database with nothing in it; it costs a fifth of a second."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def _kept_database(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    name = postgres_server.create()
    open_registry(settings_of(tmp_path_factory.mktemp("schema"), postgres_server.url(name))).close()
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _kept_database: str) -> str:
    """A database with the registry's schema and no row: the same for all tests, emptied before each."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    postgres_server.execute(_kept_database, others, _kept_database)
    postgres_server.execute(_kept_database, "DELETE FROM migrations")  # all else of them goes with it
    postgres_server.execute(_kept_database, "DELETE FROM controls")
    return postgres_server.url(_kept_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """`EUROSKY_DATABASE_URL`, None for SQLite: whatever asks for this, or for what is made of it, runs twice."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None) -> Settings:
    return settings_of(tmp_path, database_url)


@pytest.fixture
def settings_in_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, where commands and assets look for them."""
    monkeypatch.setenv("EUROSKY_HOME", str(settings.home))
    if settings.database_url is not None and settings.vault_key is not None:
        monkeypatch.setenv("EUROSKY_DATABASE_URL", settings.database_url.get_secret_value())
        monkeypatch.setenv("EUROSKY_VAULT_KEY", settings.vault_key.get_secret_value())
    return settings


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    opened = open_registry(settings)
    yield opened
    opened.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Registry]:
    """A registry on SQLite alone, for what no database has a part in."""
    opened = open_registry(settings_of(tmp_path, None))
    yield opened
    opened.close()


@pytest.fixture
def sql(settings: Settings) -> Iterator[Sql]:
    """`sql("UPDATE … WHERE token = :token", token=…)`: behind the registry's back, committed; the rows, if any."""
    url = settings.database_url
    engine = create_engine(url.get_secret_value() if url else f"sqlite:///{settings.home / 'registry.sqlite'}")

    def execute(statement: str, **values: object) -> list[Any]:
        with engine.connect() as connection, connection.begin():
            if not url:
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    yield execute
    engine.dispose()
