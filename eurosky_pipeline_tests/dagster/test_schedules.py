"""The schedules: they delete what is of no more use, on by themselves, and ask for no run where there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus, RunRequest, RunsFilter, SkipReason, build_schedule_context
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, Workspace
from eurosky_pipeline.definitions import defs
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.orchestration.forgetting import forget_runs
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.schedules import (
    purge_credentials,
    purge_credentials_job,
    purge_finished,
    purge_finished_job,
)
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings


def test_both_are_on_by_themselves_and_say_what_they_do() -> None:
    schedules = {schedule.name: schedule for schedule in defs.get_repository_def().schedule_defs}
    assert schedules.keys() == {"purge_credentials", "purge_finished"}
    assert {schedule.default_status for schedule in schedules.values()} == {DefaultScheduleStatus.RUNNING}
    assert schedules["purge_credentials"].cron_schedule == "*/15 * * * *"
    assert all(len(schedule.description or "") > 50 for schedule in schedules.values())


def test_passwords_that_are_of_no_more_use_are_deleted_and_the_run_says_how_many(
    migration: Migration, registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(purge_credentials(build_schedule_context()), SkipReason)
    with registry._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE credentials SET expires_at = '2020-01-01 00:00:00.000000'")
    assert isinstance(purge_credentials(build_schedule_context()), RunRequest)
    with DagsterInstance.ephemeral() as instance:
        assert purge_credentials_job.execute_in_process(instance=instance).success
    assert "1 passwords deleted: 1 had expired" in capfd.readouterr().err
    assert registry.password(migration.token, Side.DESTINATION) is None
    assert isinstance(purge_credentials(build_schedule_context()), SkipReason)


def test_what_ended_long_ago_is_purged_where_the_setting_says_so_and_only_there(
    migration: Migration, registry: Registry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    Workspace(home, home / "artifacts", migration.token).scratch(ACCOUNT_CAR).write_bytes(b"car")
    registry.fail(migration.token, FatalError("no", code="disk"))
    with registry._engine.begin() as connection:
        then = (datetime.now(UTC) - timedelta(days=8)).strftime("%Y-%m-%d %H:%M:%S.000000")
        connection.exec_driver_sql(f"UPDATE migrations SET updated_at = '{then}'")
    car = home / "work" / migration.token / ACCOUNT_CAR
    for days, is_due in (("", False), ("9", False), ("7", True)):
        monkeypatch.setenv("EUROSKY_RETENTION_DAYS", days)
        assert isinstance(purge_finished(build_schedule_context()), RunRequest) is is_due
        assert car.exists()
        with DagsterInstance.ephemeral() as instance:
            assert purge_finished_job.execute_in_process(instance=instance).success
        assert car.exists() is not is_due
    assert registry.get(migration.token).state is State.FAILED
    assert registry.get(migration.token).purged_at is not None
    assert isinstance(purge_finished(build_schedule_context()), SkipReason)


def test_a_forgotten_migration_has_no_run_no_event_and_no_partition(migration: Migration, home: Path) -> None:
    settings = load_settings()
    prepare_instance(settings)
    with open_instance() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name or "", [migration.token])
        runs = []
        for token in (migration.token, migration.token, "EURO-AAAAAAAAAAAAAAAA"):
            run = create_run_for_test(instance, tags={"dagster/partition": token, "eurosky/did": migration.did})
            instance.report_engine_event(f"about {migration.did}", run)
            runs.append(run.run_id)
        assert forget_runs(settings, migration.token) == 2
        assert [run.run_id for run in instance.get_runs()] == runs[2:]
        assert instance.get_runs(RunsFilter(tags={"dagster/partition": migration.token})) == []
        assert [len(instance.all_logs(run_id)) > 0 for run_id in runs] == [False, False, True]
        assert instance.get_dynamic_partitions(MIGRATIONS.name or "") == []
