"""What is on by itself: every sensor and schedule, but for those that EUROSKY_SENSORS_OFF names."""

from __future__ import annotations

import pytest
from dagster import DefaultScheduleStatus, DefaultSensorStatus

from eurosky_pipeline.definitions import build_defs, defs
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.schedules import ALL_SCHEDULES
from eurosky_pipeline.orchestration.sensors import ALL_SENSORS
from eurosky_pipeline.orchestration.switches import check_names, is_on_by_itself, names
from eurosky_pipeline.settings import load_settings

ON = {DefaultSensorStatus.RUNNING, DefaultScheduleStatus.RUNNING}


def loaded() -> dict[str, bool]:
    """As Dagster finds them: each name, and whether it is on."""
    repository = build_defs().get_repository_def()
    return {each.name: each.default_status in ON for each in (*repository.sensor_defs, *repository.schedule_defs)}


def test_each_sensor_and_schedule_is_on_by_itself_and_says_what_it_does() -> None:
    assert loaded() == dict.fromkeys(names(), True) == is_on_by_itself()
    assert {"new_migrations", "resume_waiting", "purge_credentials", "purge_finished"} <= set(names())
    assert all(len(each.description or "") > 50 for each in (*ALL_SENSORS, *ALL_SCHEDULES))


def test_what_the_setting_names_is_off_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_SENSORS_OFF", "new_migrations,purge_finished")
    assert {name for name, is_on in loaded().items() if not is_on} == {"new_migrations", "purge_finished"}
    assert is_on_by_itself() == loaded()
    monkeypatch.delenv("EUROSKY_SENSORS_OFF")
    assert all(loaded().values())  # what was switched is a copy


def test_a_name_that_there_is_not_is_an_error_that_names_all_and_yet_the_rest_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EUROSKY_SENSORS_OFF", "new_migration,purge_finished")
    with pytest.raises(SettingsError, match="new_migration: there is no such") as error:
        check_names(load_settings())
    assert (error.value.code, all(name in error.value.hint for name in names())) == ("unknown_sensor", True)
    assert {name for name, is_on in loaded().items() if not is_on} == {"purge_finished"}


def test_where_the_settings_cannot_be_read_all_loads_and_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_SENSORS_OFF", "New Migrations!")
    assert loaded() == dict.fromkeys(names(), False)


def test_loading_needs_no_setting() -> None:
    assert defs.get_repository_def().has_sensor_def("new_migrations")
