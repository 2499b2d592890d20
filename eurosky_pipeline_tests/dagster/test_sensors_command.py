"""`eurosky sensors`: what is on, what it said, and switching it without anything that runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from dagster._core.scheduler.instigation import TickData, TickStatus

from eurosky_pipeline.cli.sensors import sensors
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.instigators import _origin, look
from eurosky_pipeline.orchestration.switches import names
from eurosky_pipeline.settings import load_settings


def command(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(sensors, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def is_on() -> dict[str, bool]:
    return {row["name"]: row["is_on"] for row in command("list")}


def test_all_are_listed_with_what_they_do() -> None:
    rows = command("list")
    assert sorted(row["name"] for row in rows) == names()
    assert all(row["is_on"] and row["when"] and len(row["what"]) > 50 and not row["is_switched"] for row in rows)
    assert all(row["last_tick"] is None for row in rows)


def test_what_is_switched_stays_so_whatever_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = command("off", "resume_waiting")
    assert (row["name"], row["is_on"], row["is_switched"]) == ("resume_waiting", False, True)
    assert [name for name, on in is_on().items() if not on] == ["resume_waiting"]
    monkeypatch.setenv("EUROSKY_SENSORS_OFF", "new_migrations,resume_waiting,purge_finished")
    command("on", "resume_waiting", "purge_finished")
    assert [name for name, on in is_on().items() if not on] == ["new_migrations"]
    assert {row["is_on"] for row in command("off", "--all")} == {False}
    assert {row["is_on"] for row in command("on", "--all")} == {True}


def test_the_last_tick_is_told_in_one_line() -> None:
    prepare_instance(load_settings())
    origin = _origin("new_migrations")
    with open_instance() as instance:
        for status, extra in (
            (TickStatus.SKIPPED, {"skip_reason": "no migration\nto start"}),
            (TickStatus.SUCCESS, {"run_ids": ["a", "b"]}),
        ):
            instance.create_tick(
                TickData(
                    instigator_origin_id=origin.get_id(),
                    instigator_name="new_migrations",
                    instigator_type=_type(),
                    status=status,
                    timestamp=1_700_000_000.0 + len(extra.get("run_ids", [])),
                    selector_id=origin.get_selector().get_id(),
                    **extra,
                )
            )
            (row,) = look(instance, ["new_migrations"])
            assert row.last_tick is not None
            expected = "no migration to start" if status is TickStatus.SKIPPED else "runs asked for: 2"
            assert (row.last_tick.said, row.last_tick.at.year) == (expected, 2023)


def _type() -> Any:
    from dagster._core.definitions.run_request import InstigatorType

    return InstigatorType.SENSOR


@pytest.mark.parametrize("arguments", [["on"], ["off", "nope"], ["on", "new_migrations", "--all"]], ids=str)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(arguments: list[str]) -> None:
    assert CliRunner().invoke(sensors, arguments).exit_code == 2
    assert set(is_on().values()) == {True}


def test_a_setting_that_names_what_there_is_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_SENSORS_OFF", "new_migration")
    with pytest.raises(SettingsError, match="new_migration"):
        CliRunner().invoke(sensors, ["list"], catch_exceptions=False)
