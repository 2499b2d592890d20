"""The sensor `stuck_migrations`: what vanished runs have left is put right, and the migration goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dagster import DagsterInstance, DagsterRunStatus, SensorResult

from eurosky_pipeline.orchestration.sensors import new_migrations, starts, stuck_migrations
from eurosky_pipeline.orchestration.steps import ATTEMPT_TAG
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.watch import MAX_LOST_IN_A_ROW
from eurosky_pipeline_tests.dagster.ticks import ago, asked_for, dead, launched, living, run_of, said, tick


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def gone() -> dict[str, str]:
    return dead()


def begun(instance: DagsterInstance, registry: Registry, token: str, lease_s: float = 90, **tags: str) -> str:
    """A run that has begun to work; its id."""
    run = run_of(instance, token, DagsterRunStatus.STARTED, **tags)
    registry.acquire_lease(token, run.run_id, lease_s)
    return run.run_id


def test_one_whose_process_is_gone_goes_on_at_once(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    run_id = begun(instance, registry, migration.token, **gone)
    (request,) = asked_for(stuck_migrations, instance)
    assert (request.partition_key, request.run_key) == (migration.token, f"{migration.token}/lost/1")
    assert request.tags[ATTEMPT_TAG] == "2"
    assert instance.get_run_by_id(run_id).status is DagsterRunStatus.FAILURE
    after = registry.get(migration.token)
    assert (after.state, after.lease_expires_at, after.start_wanted_at is None) == (State.PENDING_REPO, None, False)
    assert [attempt.error_code for attempt in registry.attempts_of(migration.token)] == ["run_lost"]
    assert "no run has vanished" in said(stuck_migrations, instance)


def test_a_tick_that_ended_before_it_asked_for_the_run_loses_nothing(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    begun(instance, registry, migration.token, **gone)
    asked_for(stuck_migrations, instance)
    (request,) = asked_for(new_migrations, instance)
    assert request.tags[ATTEMPT_TAG] == "2"


def test_where_dagster_still_has_it_running_a_run_without_a_process_keeps_nobody_away(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    run_of(instance, migration.token, DagsterRunStatus.STARTED, **gone)
    assert len(asked_for(new_migrations, instance)) == 1
    run_of(instance, migration.token, DagsterRunStatus.STARTED, **living())
    assert asked_for(new_migrations, instance) == []


def test_one_that_nobody_can_tell_of_is_waited_for_until_its_lease_is_over(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    run_id = begun(instance, registry, migration.token)
    assert asked_for(stuck_migrations, instance) == []
    registry.acquire_lease(migration.token, run_id, -1)
    assert len(asked_for(stuck_migrations, instance)) == 1


def test_one_whose_process_lives_has_time_to_come_back_but_not_for_ever(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    run_id = begun(instance, registry, migration.token, lease_s=-1, **living())
    assert asked_for(stuck_migrations, instance) == []
    assert registry.get(migration.token).lease_holder == run_id
    registry.acquire_lease(migration.token, run_id, -3600)
    assert len(asked_for(stuck_migrations, instance)) == 1


def test_a_run_of_another_dagster_is_waited_for_until_its_lease_is_over(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    registry.acquire_lease(migration.token, "elsewhere", 90)
    assert asked_for(stuck_migrations, instance) == []
    registry.acquire_lease(migration.token, "elsewhere", -1)
    assert len(asked_for(stuck_migrations, instance)) == 1


def test_after_so_many_in_a_row_it_is_failed_and_retry_begins_anew(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    for round_ in range(2):
        for _ in range(MAX_LOST_IN_A_ROW - 1):
            begun(instance, registry, migration.token, **gone)
            assert len(asked_for(stuck_migrations, instance)) == 1, round_
        begun(instance, registry, migration.token, **gone)
        assert "1 runs have vanished" in said(stuck_migrations, instance)
        failed = registry.get(migration.token)
        assert (failed.state, failed.error_code, failed.start_wanted_at) == (State.FAILED, "run_lost", None)
        assert "retry" in (failed.error_text or "")
        registry.retry(migration.token)


def test_an_attempt_that_ended_otherwise_ends_the_row(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    for _ in range(2):
        for _ in range(MAX_LOST_IN_A_ROW - 1):
            begun(instance, registry, migration.token, **gone)
            assert len(asked_for(stuck_migrations, instance)) == 1
        run_id = begun(instance, registry, migration.token)
        registry.release_leases(run_id)
        instance.report_run_failed(instance.get_run_by_id(run_id))
    assert registry.get(migration.token).state is State.PENDING_REPO


@pytest.mark.parametrize("status", [DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELING])
def test_what_a_person_has_stopped_is_put_right_and_not_started_again(
    instance: DagsterInstance,
    registry: Registry,
    migration: Migration,
    gone: dict[str, str],
    status: DagsterRunStatus,
) -> None:
    run = run_of(instance, migration.token, status, **gone)
    registry.acquire_lease(migration.token, run.run_id, 90)
    assert asked_for(stuck_migrations, instance) == []
    assert instance.get_run_by_id(run.run_id).status is DagsterRunStatus.CANCELED
    after = registry.get(migration.token)
    assert (after.state, after.lease_expires_at, after.start_wanted_at) == (State.PENDING_REPO, None, None)
    assert asked_for(new_migrations, instance) == []


def test_what_somebody_wants_cancelled_is_so(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    begun(instance, registry, migration.token, **gone)
    registry.request_cancel(migration.token)
    assert asked_for(stuck_migrations, instance) == []
    assert registry.get(migration.token).state is State.CANCELLED
    assert [attempt.error_code for attempt in registry.attempts_of(migration.token)] == ["run_lost"]


def test_a_finished_migration_is_let_go_and_not_started_again(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    begun(instance, registry, migration.token, **gone)
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(migration.token, State.PENDING_BLOBS, State.PENDING_PREFS)
    assert asked_for(stuck_migrations, instance) == []
    after = registry.get(migration.token)
    assert (after.state, after.lease_expires_at, after.start_wanted_at) == (State.PENDING_PREFS, None, None)


def test_while_paused_it_is_put_right_and_started_when_the_pause_is_over(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    begun(instance, registry, migration.token, **gone)
    registry.pause("wait")
    assert "paused" in said(stuck_migrations, instance)
    assert registry.get(migration.token).lease_expires_at is None
    registry.end_pause()
    assert len(asked_for(new_migrations, instance)) == 1


def test_a_run_that_ends_by_itself_just_now_is_not_put_right(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    run_id = begun(instance, registry, migration.token, lease_s=-1)
    (found,) = registry.watch.open_attempts(10)
    registry.acquire_lease(migration.token, run_id, 90)  # it lives, and renews
    assert registry.watch.put_right(found, ago(0), is_startable=True) is None
    registry.release_leases(run_id)
    assert registry.watch.put_right(found, ago(0), is_startable=True) is None
    assert [attempt.error_code for attempt in registry.attempts_of(migration.token)] == [None]


def test_where_another_run_is_queued_already_none_is_asked_for_beside_it(
    instance: DagsterInstance, registry: Registry, migration: Migration, gone: dict[str, str]
) -> None:
    begun(instance, registry, migration.token, **gone)
    (request,) = asked_for(stuck_migrations, instance)
    launched(instance, request)
    assert asked_for(new_migrations, instance) == []


def test_no_tick_puts_right_more_than_its_share_and_the_next_goes_on(
    instance: DagsterInstance, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_LOOKED_AT_PER_TICK", 2)
    for letter in "abcde":
        new = NewMigration(f"did:plc:{letter * 24}", "https://old.example", "https://new.example")
        registry.acquire_lease(registry.add(new, {}).token, f"elsewhere-{letter}", -1 if letter in "de" else 90)
    cursor, seen = None, 0
    for _ in range(3):
        result, cursor = tick(stuck_migrations, instance, cursor)
        seen += len(result.run_requests or []) if isinstance(result, SensorResult) else 0
    assert seen == 2
