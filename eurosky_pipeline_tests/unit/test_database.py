"""The schema: what Alembic makes is what the tables say, made once however many come, under a name of our own."""

import multiprocessing
import sqlite3
import stat
import threading
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, inspect, text

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry import database, schema
from eurosky_pipeline.registry.database import SCHEMA_HEAD, VERSION_TABLE, is_embedded, open_engine
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.tables import metadata
from eurosky_pipeline.settings import Settings

TABLES = {"attempts", "migrations", "credentials", "blobs", "controls", "events", "deliveries"}


def settings_of(home: Path, **values: str) -> Settings:
    return Settings(
        _env_file=None, **{"EUROSKY_HOME": home, "EUROSKY_DATABASE_URL": None, "EUROSKY_VAULT_KEY": None, **values}
    )


def tables_of(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def versions_of(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())


def revisions() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent))
    return ScriptDirectory.from_config(config)


def test_the_head_that_is_written_down_is_the_newest_revision() -> None:
    assert revisions().get_heads() == [SCHEMA_HEAD]


def test_the_upgraded_schema_is_what_the_tables_say(tmp_path: Path) -> None:
    engine = open_engine(settings_of(tmp_path))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_indexes_and_their_conditions_are_what_the_tables_say(tmp_path: Path) -> None:
    upgraded, declared = open_engine(settings_of(tmp_path)), create_engine("sqlite://")
    metadata.create_all(declared)
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    found = [engine.connect().execute(query).all() for engine in (upgraded, declared)]
    assert found[0] == found[1] != []
    for engine in (upgraded, declared):
        engine.dispose()


def test_the_version_table_is_our_own_and_leaves_dagsters_alone(tmp_path: Path) -> None:
    engine = open_engine(settings_of(tmp_path))
    assert tables_of(engine) == TABLES | {"eurosky_schema_version"}
    assert versions_of(engine) == [SCHEMA_HEAD]
    engine.dispose()


def test_a_database_with_dagsters_version_table_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('of-dagster')")
    engine = open_engine(settings_of(tmp_path, EUROSKY_DATABASE_URL=f"sqlite:///{path}"))
    assert tables_of(engine) >= TABLES
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "of-dagster"
    engine.dispose()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    open_engine(settings_of(tmp_path)).dispose()
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
        before = list(connection.iterdump())
        open_engine(settings_of(tmp_path)).dispose()
        assert list(connection.iterdump()) == before


def test_an_upgrade_of_the_newest_schema_does_nothing(tmp_path: Path) -> None:
    engine = open_engine(settings_of(tmp_path))
    with engine.begin() as connection:
        database.upgrade(connection)
    assert versions_of(engine) == [SCHEMA_HEAD]
    engine.dispose()


def test_an_upgrade_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE blobs (in_the_way INTEGER)")  # the revision makes it last
    with pytest.raises(SettingsError, match="already exists"):
        open_engine(settings_of(tmp_path))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("blobs",)]


def open_each(homes: list[Path], barrier: Barrier) -> None:
    for home in homes:
        barrier.wait(20)
        engine = open_engine(settings_of(home))
        assert tables_of(engine) >= TABLES
        engine.dispose()


def test_two_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    homes = [tmp_path / str(number) for number in range(10)]
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=open_each, args=(homes, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    for home in homes:
        engine = open_engine(settings_of(home))
        assert versions_of(engine) == [SCHEMA_HEAD]
        engine.dispose()


def test_a_new_file_that_another_process_is_writing_to_is_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # and not yet in WAL mode: here SQLite itself does not wait
        rollback = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        rollback.start()
        engine = open_engine(settings_of(tmp_path))
        rollback.join()
    assert versions_of(engine) == [SCHEMA_HEAD]
    engine.dispose()


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    open_engine(settings_of(home)).dispose()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = tmp_path / "100% mine? #1; drop"
    engine = open_engine(settings_of(home))
    assert (home / "registry.sqlite").exists()
    assert tables_of(engine) >= TABLES
    engine.dispose()


def test_sqlite_writes_ahead_and_keeps_its_references(tmp_path: Path) -> None:
    engine = open_engine(settings_of(tmp_path))
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


def test_a_home_that_is_a_file_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(SettingsError, match=r"EUROSKY_HOME .* cannot be written"):
        open_engine(settings_of(tmp_path / "home"))


def test_a_registry_that_points_nowhere_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").symlink_to("/nowhere/at/all")
    with pytest.raises(SettingsError, match=r"EUROSKY_HOME .* cannot be written"):
        open_engine(settings_of(tmp_path))


def test_nobody_else_can_read_the_registry_or_what_stands_beside_it(tmp_path: Path) -> None:
    engine = open_engine(settings_of(tmp_path))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE probe (x)"))
        files = list(tmp_path.glob("registry.sqlite*"))
        assert len(files) == 3  # the file, its write-ahead log, the log's index
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    engine.dispose()


def test_a_registry_that_cannot_be_opened_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").mkdir()
    with pytest.raises(SettingsError, match="the registry's database cannot be opened: unable to open") as caught:
        open_engine(settings_of(tmp_path))
    assert (caught.value.code, caught.value.hint) == ("database_unavailable", "check EUROSKY_HOME")


@pytest.mark.parametrize(
    "url",
    [
        "s3cret",
        "nosuch://me:s3cret@db/eurosky",
        "postgresql://me:s3cret@db:s3cret/eurosky",
        "mysql+s3cret://me:s3cret@db/eurosky",
        "postgresql+asyncpg://me:s3cret@db/eurosky",  # a driver that is not installed
    ],
)
def test_a_url_of_no_database_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="EUROSKY_DATABASE_URL is not the URL of a database") as caught:
        open_engine(settings_of(tmp_path, EUROSKY_DATABASE_URL=url))
    assert "s3cret" not in caught.value.with_hint()


def test_a_server_that_does_not_answer_is_told_without_the_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://me:s3cret@127.0.0.1:1/eurosky"
    with pytest.raises(SettingsError, match=r"cannot be opened: connection to server at .*127\.0\.0\.1") as caught:
        open_engine(settings_of(tmp_path, EUROSKY_DATABASE_URL=url))
    assert "s3cret" not in caught.value.with_hint()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, True), ("sqlite:////srv/r.sqlite", True), ("sqlite+pysqlite://", True), ("postgresql://db/x", False)],
)
def test_only_sqlite_is_embedded(tmp_path: Path, url: str | None, expected: bool) -> None:
    assert is_embedded(settings_of(tmp_path, EUROSKY_DATABASE_URL=url)) is expected


def test_a_full_disk_is_told_as_that_and_what_was_written_is_kept(tmp_path: Path) -> None:
    registry = open_registry(settings_of(tmp_path))
    new = NewMigration("did:plc:" + "a" * 24, "https://old.example", "https://new.example")
    token = registry.add(new, {}).token
    with registry._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    event.listen(registry._engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count={pages}"))
    registry._engine.dispose()
    with pytest.raises(FatalError) as caught:
        registry.record(token, {"blobs": "x" * 1_000_000})
    assert caught.value.code == "disk_full"
    assert registry.get(token).progress_data == {}
    registry.close()
