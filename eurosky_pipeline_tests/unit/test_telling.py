"""Where people see what became of events: at the end of a command, in a sensor's tick, and in `eurosky doctor`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, SkipReason, build_sensor_context

from eurosky_pipeline.cli.migrate import migrate
from eurosky_pipeline.cli.telling import tell_sinks
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.events.log_sink import LOG_NAME
from eurosky_pipeline.orchestration.sensors.deliver_events import deliver_events
from eurosky_pipeline.preflight.diagnosis import Health
from eurosky_pipeline.preflight.events import look_at_events
from eurosky_pipeline.registry.deliveries import DeliveryOutcome, Result, open_outbox
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline_tests.conftest import Sql

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NEW = NewMigration("did:web:a.example", "https://old.example", "https://new.example", handle="alice.example")


@pytest.fixture(autouse=True)
def in_environment(settings_in_environment: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EUROSKY_WEBHOOK_URL", "EUROSKY_WEBHOOK_SECRET", "EUROSKY_EVENT_SINKS"):
        monkeypatch.delenv(name, raising=False)


def logged(settings: Settings) -> list[str]:
    path = settings.home / LOG_NAME
    return [json.loads(line)["kind"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_tick_tells_says_so_without_a_name_and_deletes_what_all_have_had(
    registry: Registry, settings: Settings, sql: Sql
) -> None:
    token = registry.add(NEW, {}).token
    registry.fail(token, FatalError("did:web:a.example is gone", code="gone", hint="look"))
    with DagsterInstance.ephemeral() as instance:
        said = deliver_events(build_sensor_context(instance=instance))
        assert isinstance(said, SkipReason)
        assert said.skip_message == "log: 2 events delivered"
        again = deliver_events(build_sensor_context(instance=instance))
    assert logged(settings) == ["registered", "state_changed"]
    assert isinstance(again, SkipReason)
    assert again.skip_message == "nobody has to be told of anything"
    assert sql("SELECT * FROM events") == []


@on_sqlite
def test_a_command_tells_what_is_wrong_beside_its_result_and_fails_of_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.add(NEW, {})
    tell_sinks(load_settings())
    assert capsys.readouterr() == ("", "")
    assert logged(load_settings()) == ["registered"]
    monkeypatch.setenv("EUROSKY_WEBHOOK_URL", "https://hooks.example/in")
    tell_sinks(load_settings())
    out, err = capsys.readouterr()
    assert out == ""
    assert "events: webhook: 1 event waiting: EUROSKY_WEBHOOK_URL is set" in err
    monkeypatch.setenv("EUROSKY_EVENT_SINKS", "nobody_has_this")
    tell_sinks(load_settings())
    assert "nobody_has_this" in capsys.readouterr().err
    monkeypatch.setenv("EUROSKY_DATABASE_URL", "sqlite:////nowhere/at/all.sqlite")
    tell_sinks(load_settings())
    assert "events are told later: " in capsys.readouterr().err


@on_sqlite
def test_migrate_tells_when_it_ends_and_its_result_stays_one_value(registry: Registry, settings: Settings) -> None:
    registry.add(NEW, {})
    done = CliRunner().invoke(migrate, ["--all-failed", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    assert logged(settings) == ["registered"]


@on_sqlite
def test_the_doctor_makes_nothing_where_nothing_is(settings: Settings) -> None:
    (row,) = look_at_events(load_settings())
    assert (row.verdict, row.found) == (Health.OK, "told to: log")
    assert list(settings.home.iterdir()) == []


def test_the_doctor_says_how_many_wait_since_when_and_why(
    registry: Registry, settings: Settings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = registry.add(NEW, {}).token
    registry.fail(token, FatalError("gone", code="gone", hint="look"))
    assert [row.verdict for row in look_at_events(load_settings())] == [Health.OK]
    sql("UPDATE events SET happened_at = :then", then=datetime.now(UTC) - timedelta(minutes=11))
    (row,) = look_at_events(load_settings())
    assert (row.verdict, row.what_to_do.partition(",")[0]) == (Health.WARN, "run `eurosky up`")
    assert "log: 2 events waiting since 20" in row.found
    outbox = open_outbox(settings)
    now = datetime.now(UTC)
    refused, waiting = (pending.event.id for pending in outbox.pending("log", now))
    outbox.record(
        "log",
        "me",
        [
            Result(refused, DeliveryOutcome.GIVEN_UP, 1, None, "not wanted"),
            Result(waiting, DeliveryOutcome.WAITING, 1, now + timedelta(seconds=10), "it is down"),
        ],
        now,
        now,
    )
    outbox.close()
    down, given_up = look_at_events(load_settings())
    assert "log: 1 event waiting since" in down.found
    assert "it is down" in down.found
    assert f"[{token}] event {refused}: not wanted" in given_up.found
    monkeypatch.setenv("EUROSKY_WEBHOOK_URL", "https://hooks.example/in")
    bad = [row for row in look_at_events(load_settings()) if row.verdict is Health.BAD]
    assert [row.found.partition(":")[0] for row in bad] == ["webhook (2 events waiting)"]
    monkeypatch.setenv("EUROSKY_EVENT_SINKS", "nobody_has_this")
    (row,) = look_at_events(load_settings())
    assert (row.verdict, "nobody_has_this" in row.found) == (Health.BAD, True)
