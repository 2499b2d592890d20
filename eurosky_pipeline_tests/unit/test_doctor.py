"""`eurosky doctor`: whatever is wrong is a row with what to do; nothing is made, and nothing makes it crash."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat, DaemonStatus
from pydantic import SecretStr

from eurosky_pipeline.cli.doctor import doctor
from eurosky_pipeline.orchestration.health import _is_alive, look_at_dagster
from eurosky_pipeline.orchestration.instance import INSTANCE_FILE
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health, diagnosed
from eurosky_pipeline.preflight.doctor import diagnose
from eurosky_pipeline.preflight.environment import look_at_packages
from eurosky_pipeline.registry.database import VERSION_TABLE
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side, new_key
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline_tests.builders import DID
from eurosky_pipeline_tests.stub_pds import Answer, StubPds, stub_pds

PASSWORD = "canary-20c4-of-the-account"
SECRET = "canary-d1e7-of-the-database"


@pytest.fixture(scope="module")
def host() -> Iterator[StubPds]:
    """A PDS and a PLC directory in one, which is well."""
    with stub_pds() as stub:
        stub.routes["com.atproto.server.describeServer"] = lambda _: Answer.of_json({"did": "did:web:pds.example"})
        stub.routes["/_health"] = lambda _: Answer.of_json({"version": "1"})
        yield stub


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: StubPds) -> Path:
    for name in [name for name in os.environ if name.startswith(("EUROSKY_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EUROSKY_PLC_URL", host.url)
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    opened = open_registry(load_settings())
    yield opened
    opened.close()


@pytest.fixture
def in_use(registry: Registry, host: StubPds) -> Registry:
    """A registry with one active migration between servers that are well, and a password."""
    other = host.url.replace("127.0.0.1", "localhost")
    registry.add(NewMigration(DID, host.url, other), {Side.DESTINATION: SecretStr(PASSWORD)})
    return registry


def rows() -> list[Diagnosis]:
    return list(diagnose(lambda _: [], dagster_timeout_s=1))


def row(name: str) -> Diagnosis:
    """The worst row of this name."""
    return max((each for each in rows() if each.name == name), key=lambda each: list(Health).index(each.verdict))


def seen(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def test_where_there_is_nothing_yet_nothing_is_wrong_and_nothing_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(doctor, ["--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["ok"] is True
    assert {each["name"] for each in value["checks"]} == {
        *(
            "packages",
            "settings",
            "home",
            "database",
            "key",
            "events",
            "disk",
            "sandbox",
            "hosts",
            "PLC directory",
            "Dagster",
        )
    }
    assert {each["verdict"] for each in value["checks"] if each["name"] != "settings"} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_registry_in_use_is_looked_through_and_left_as_it_is(in_use: Registry, home: Path) -> None:
    before = seen(home)
    found = {each.name: each for each in rows()}
    assert seen(home) == before
    assert found["database"].found.endswith("schema 0004")
    assert found["key"].found.endswith("opens the 1 newest passwords")
    assert [each.verdict for each in rows() if each.name == "hosts"] == [Health.OK, Health.OK]
    in_use.close()  # the last one to leave takes SQLite's files beside the database with it
    before = seen(home)
    assert row("database").verdict is Health.OK
    assert seen(home) == before
    assert PASSWORD not in repr(found)


def test_a_pause_is_told_with_its_words_and_what_ends_it(registry: Registry) -> None:
    registry.pause("the new disk")
    found = row("paused")
    assert (found.verdict, "the new disk" in found.found) == (Health.WARN, True)
    assert "eurosky resume" in found.what_to_do
    registry.end_pause()
    assert [each for each in rows() if each.name == "paused"] == []


def lose_the_key(home: Path) -> None:
    (home / "vault.key").unlink()


def expose_the_key(home: Path) -> None:
    (home / "vault.key").chmod(0o644)


def change_the_key(home: Path) -> None:
    (home / "vault.key").write_text(new_key())


def scribble_the_key(home: Path) -> None:
    (home / "vault.key").write_text("no key")


def scribble_the_database(home: Path) -> None:
    (home / "registry.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)


def open_the_home(home: Path) -> None:
    home.chmod(0o777)


def set_schema(home: Path, version: str) -> None:
    with sqlite3.connect(home / "registry.sqlite") as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")
    connection.close()


@pytest.mark.parametrize(
    ("name", "told", "spoil"),
    [
        ("key", "is gone", lose_the_key),
        ("key", "vault_key_exposed", expose_the_key),
        ("key", "not opened by it: EURO-", change_the_key),
        ("key", "vault_key_invalid", scribble_the_key),
        ("database", "cannot be read", scribble_the_database),
        ("database", "this program's is 0004", lambda home: set_schema(home, "9999")),
        ("database", "this program's is 0004", lambda home: set_schema(home, "a-branch")),
        ("home", "can be changed by others (777)", open_the_home),
    ],
)
def test_what_is_wrong_with_the_home_is_bad_with_what_to_do(
    in_use: Registry, home: Path, name: str, told: str, spoil: Callable[[Path], None]
) -> None:
    in_use.close()
    spoil(home)
    found = row(name)
    assert found.verdict is Health.BAD
    assert told in found.found
    assert found.what_to_do


def test_an_older_schema_is_a_warning_since_the_next_command_brings_it_up_to_date(in_use: Registry, home: Path) -> None:
    in_use.close()
    set_schema(home, "0002")
    assert row("database").verdict is Health.WARN
    assert row("hosts").found == "not known: the registry could not be read"


def test_a_home_that_is_a_file_is_bad(home: Path) -> None:
    home.write_text("")
    assert row("home").verdict is Health.BAD


def test_a_server_that_does_not_answer_or_is_no_pds_is_bad_by_its_name(registry: Registry, home: Path) -> None:
    registry.add(NewMigration(DID, "http://127.0.0.1:9", "https://no-such-host.invalid"), {})
    bad = [each for each in rows() if each.name == "hosts" and each.verdict is Health.BAD]
    assert len(bad) == 2
    assert any("127.0.0.1:9" in each.found and "host_unreachable" in each.found for each in bad)
    assert any("no-such-host.invalid" in each.found for each in bad)


def test_a_database_server_that_is_away_is_bad_and_its_password_is_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EUROSKY_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:9/eurosky")
    found = {each.name: each for each in rows()}
    assert found["database"].verdict is found["key"].verdict is Health.BAD
    assert "EUROSKY_DATABASE_URL" in found["database"].what_to_do
    assert "new-key" in found["key"].what_to_do
    assert SECRET not in repr(found)


def test_a_database_server_is_looked_at_as_a_file_is_and_nothing_is_made_in_it(
    monkeypatch: pytest.MonkeyPatch, empty_postgres_url: str, host: StubPds
) -> None:
    monkeypatch.setenv("EUROSKY_DATABASE_URL", empty_postgres_url)
    monkeypatch.setenv("EUROSKY_VAULT_KEY", new_key())
    for _ in range(2):
        assert row("database").found == "PostgreSQL: empty, the first command makes the tables"
        assert (row("key").verdict, row("hosts").found) == (Health.OK, "no migration is active")
    opened = open_registry(load_settings())
    opened.add(NewMigration(DID, host.url, "https://new.example"), {Side.SOURCE: SecretStr(PASSWORD)})
    opened.close()
    assert row("database").found == "PostgreSQL, schema 0004"
    assert row("key").found == "1 in EUROSKY_VAULT_KEY; opens the 1 newest passwords"


def test_a_setting_that_cannot_be_used_is_told_and_nothing_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_BLOBS", "many")
    found = rows()
    assert [each.name for each in found] == ["packages", "settings"]
    assert (found[1].verdict, "PARALLEL_BLOBS" in found[1].found) == (Health.BAD, True)
    assert CliRunner().invoke(doctor).exit_code == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EUROSKY_DATABASE_URI", "EUROSKY_DATABASE_URL"),
        ("PARALEL_BLOBS", "PARALLEL_BLOBS"),
        ("EUROSKY_QQQQQQQQQQQQ", None),
    ],
)
def test_a_variable_that_nobody_reads_is_told_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, SECRET)
    (found,) = [each for each in rows() if each.name == "settings" and name in each.found]
    assert (found.verdict, found.found) == (Health.WARN, f"{name} is read by nobody")
    assert found.what_to_do == (f"is {meant} meant? unset it" if meant else "unset it")
    assert SECRET not in repr(rows())


def test_the_env_file_of_the_working_folder_is_looked_through_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PARALLEL_BLOBS=2\nEUROSKY_VALT_KEY={SECRET}\nSOMEBODY_ELSES=1\n")
    told = [each.found for each in rows() if each.name == "settings"]
    assert "PARALLEL_BLOBS (in .env)" in told[0]
    assert told[1] == "EUROSKY_VALT_KEY (in .env) is read by nobody"
    assert SECRET not in repr(told)


def test_packages_that_are_not_as_wanted_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_at_packages()[0].verdict is Health.OK
    wanted = ["dagster==0.0.1", "no-such-package-at-all>=1", "ruff>=1; extra == 'dev'"]
    monkeypatch.setattr("eurosky_pipeline.preflight.environment.requires", lambda _: wanted)
    (found,) = look_at_packages()
    assert found.verdict is Health.BAD
    assert "dagster==0.0.1 (there is" in found.found
    assert "no-such-package-at-all (not installed)" in found.found
    assert "ruff" not in found.found


def test_a_look_that_breaks_or_hangs_is_a_bad_row(tmp_path: Path) -> None:
    def broken(_: threading.Event) -> list[Diagnosis]:
        raise ValueError(SECRET)

    (found,) = diagnosed("disk", broken)
    assert (found.verdict, found.found) == (Health.BAD, "could not be looked at: an unexpected ValueError")
    (late,) = diagnosed("disk", lambda stop: [] * stop.wait(30), timeout_s=0.05)
    assert (late.verdict, late.found) == (Health.BAD, "no answer within 0 s")


OURS = INSTANCE_FILE.read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(OURS, "", id="ours"),
        pytest.param(OURS.replace("max_concurrent_runs: 10", "max_concurrent_runs: 3"), "", id="another number"),
        pytest.param("concurrency:\n  runs:\n    max_concurrent_runs: 3\n", "knows no lanes", id="from before"),
        pytest.param("run_coordinator: words\n", "knows no lanes", id="no mapping"),
        pytest.param(f"{OURS}\nconcurrency:\n  runs:\n    max_concurrent_runs: 3\n", "overrules", id="both"),
        pytest.param(f"{OURS}\nconcurrency:\n", "", id="nothing in it"),
    ],
)
def test_a_queue_that_knows_no_lanes_and_no_pause_is_told(home: Path, text: str, told: str) -> None:
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text(text)
    found = [each for each in look_at_dagster(load_settings(), {}) if each.name == "queue"]
    assert [(each.verdict, told in each.found, bool(each.what_to_do)) for each in found] == (
        [(Health.WARN, True, True)] if told else []
    )


@pytest.mark.parametrize(
    ("text", "verdict", "told"),
    [
        (None, Health.OK, "is not there yet"),
        (INSTANCE_FILE.read_text(), Health.OK, "is the project's"),
        ("telemetry:\n  enabled: true\n", Health.OK, "was changed by a person, and says nothing of"),
        ("a: [", Health.BAD, "is no YAML of settings"),
        ("just words", Health.BAD, "is no YAML of settings"),
    ],
)
def test_the_instances_file_is_told_for_whose_it_is(home: Path, text: str | None, verdict: Health, told: str) -> None:
    folder = home / "dagster"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "dagster.yaml").write_text(text)
    before = seen(home)
    found = look_at_dagster(load_settings(), {})
    assert found[0].verdict is verdict
    assert told in found[0].found
    assert bool(found[0].what_to_do) is ("project's" not in told and "not there" not in told)
    assert seen(home) == before


def test_an_instance_file_that_leaves_the_runs_where_they_were_is_bad_on_a_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, empty_postgres_url: str
) -> None:
    monkeypatch.setenv("EUROSKY_DATABASE_URL", empty_postgres_url)
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    found = look_at_dagster(Settings(), {})[0]
    assert (found.verdict, "elsewhere than in EUROSKY_DATABASE_URL" in found.found) == (Health.BAD, True)


def test_an_instance_file_of_an_earlier_version_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"telemetry:\n  enabled: false\n"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_bytes(text)
    former = frozenset({hashlib.sha256(text).hexdigest()})
    monkeypatch.setattr("eurosky_pipeline.orchestration.health.FORMER_INSTANCE_FILES", former)
    found = look_at_dagster(Settings(), {})[0]
    assert (found.verdict, "of an earlier version" in found.found) == (Health.WARN, True)


@pytest.mark.parametrize(("silent_s", "expected"), [(0, True), (100, True), (300, False)])
def test_a_daemon_that_has_been_silent_for_minutes_does_not_run(silent_s: float, expected: bool) -> None:
    """Dagster itself would believe in it for half an hour."""
    heartbeat = DaemonHeartbeat(time.time() - silent_s, "SENSOR", "id", [])
    assert _is_alive(DaemonStatus("SENSOR", required=True, healthy=True, last_heartbeat=heartbeat)) is expected
