"""The sensor `migration_failed`: a run that failed without a word to the registry is told of there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dagster import (
    AssetKey,
    DagsterExecutionInterruptedError,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    asset,
    build_sensor_context,
    define_asset_job,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from eurosky_pipeline.definitions import build_defs
from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.sensors import migration_failed, new_migrations
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline_tests.dagster.ticks import asked_for, launched, run_of, said, tick

SECRET = "canary-of-a-library"


@pytest.fixture
def instance(migration: Migration) -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions(MIGRATIONS.name or "", [migration.token])
        yield opened


def started_in_vain(instance: DagsterInstance, tags: dict[str, str], token: str) -> None:
    """A run of the job whose resources cannot be made, since a setting cannot be used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARALLEL_BLOBS", "none")
        result = (
            build_defs()
            .resolve_job_def("migrate_account")
            .execute_in_process(instance=instance, partition_key=token, tags=tags, raise_on_error=False)
        )
    assert not result.success


def failed_run(
    instance: DagsterInstance, registry: Registry, token: str, error: BaseException, **tags: str
) -> DagsterRun:
    """A run that has begun to work, and fails of this."""

    @asset(partitions_def=MIGRATIONS, name="transferred_blobs")
    def working() -> None:
        raise error

    @asset(partitions_def=MIGRATIONS)
    def beside() -> None: ...

    definitions = Definitions(assets=[working, beside], jobs=[define_asset_job("both")])
    result = definitions.resolve_job_def("both").execute_in_process(
        asset_selection=[working.key],
        instance=instance,
        partition_key=token,
        raise_on_error=False,
        tags={f"dagster/{name}": value for name, value in tags.items()},
    )
    registry.acquire_lease(token, result.run_id, 90)
    registry.release_leases(result.run_id, is_stopped=isinstance(error, DagsterExecutionInterruptedError))
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is DagsterRunStatus.FAILURE
    return run


def test_runs_that_come_to_nothing_before_their_first_step_make_it_failed_with_what_is_wrong(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    for count in range(3):
        assert "0 migrations" in said(migration_failed, instance), count
        (request,) = asked_for(new_migrations, instance)
        started_in_vain(instance, dict(request.tags), migration.token)
    assert "1 migrations" in said(migration_failed, instance)
    failed = registry.get(migration.token)
    assert (failed.state, failed.error_code, failed.attempts) == (State.FAILED, "run_failed", 0)
    assert "PARALLEL_BLOBS" in (failed.error_text or "")
    assert asked_for(new_migrations, instance) == []
    registry.retry(migration.token)
    assert "0 migrations" in said(migration_failed, instance)
    assert len(asked_for(new_migrations, instance)) == 1


def test_a_run_that_failed_outside_our_steps_makes_it_failed_without_what_the_library_said(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    failed_run(instance, registry, migration.token, ZeroDivisionError(SECRET))
    said(migration_failed, instance)
    failed = registry.get(migration.token)
    assert (failed.state, failed.error_code) == (State.FAILED, "run_failed")
    assert "ZeroDivisionError" in (failed.error_text or "")
    assert SECRET not in (failed.error_text or "")


def test_an_interrupted_run_is_followed_by_another(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    failed_run(instance, registry, migration.token, DagsterExecutionInterruptedError())
    assert asked_for(new_migrations, instance) == []
    said(migration_failed, instance)
    assert registry.get(migration.token).state is State.PENDING_REPO
    (request,) = asked_for(new_migrations, instance)
    launched(instance, request)
    said(migration_failed, instance)
    assert asked_for(new_migrations, instance) == []


def finish(registry: Registry, token: str) -> None:
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)


def test_what_a_stop_has_broken_off_of_a_backfill_over_finished_ones_is_asked_for_again_as_it_was(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    finish(registry, migration.token)
    run = failed_run(instance, registry, migration.token, DagsterExecutionInterruptedError(), backfill="abc")
    context = build_sensor_context(instance=instance, definitions=build_defs(), sensor_name="migration_failed")
    with partition_loading_context(dynamic_partitions_store=instance):
        (request,) = migration_failed.evaluate_tick(context).run_requests or []
    assert request.asset_selection == [AssetKey("transferred_blobs")]
    assert (request.partition_key, request.tags["dagster/backfill"]) == (migration.token, "abc")
    assert run.run_id in (request.run_key or "")
    assert registry.get(migration.token).state is State.PENDING_PREFS
    launched(instance, request)
    assert asked_for(migration_failed, instance) == []


def test_what_was_broken_off_of_no_backfill_or_has_failed_otherwise_is_not_asked_for_again(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    finish(registry, migration.token)
    failed_run(instance, registry, migration.token, DagsterExecutionInterruptedError())
    assert asked_for(migration_failed, instance) == []
    failed_run(instance, registry, migration.token, ZeroDivisionError(), backfill="abc")
    assert asked_for(migration_failed, instance) == []
    assert registry.get(migration.token).state is State.PENDING_PREFS


@pytest.mark.parametrize(("status", "count"), [("CANCELED", 0), ("CANCELING", 0), ("COMPLETED_FAILED", 1)])
def test_of_a_backfill_that_a_person_has_cancelled_nothing_is_asked_for_again(
    instance: DagsterInstance, registry: Registry, migration: Migration, status: str, count: int
) -> None:
    finish(registry, migration.token)
    failed_run(instance, registry, migration.token, DagsterExecutionInterruptedError(), backfill="abc")
    backfill = PartitionBackfill(
        "abc",
        status=BulkActionStatus[status],
        from_failure=False,
        tags={},
        backfill_timestamp=0.0,
        partition_names=[migration.token],
    )
    instance.add_backfill(backfill)
    assert len(asked_for(migration_failed, instance)) == count


def test_in_a_pause_nothing_is_asked_for_and_nothing_is_forgotten(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    finish(registry, migration.token)
    failed_run(instance, registry, migration.token, DagsterExecutionInterruptedError(), backfill="abc")
    registry.pause()
    result, cursor = tick(migration_failed, instance)
    assert "nothing is started" in str(getattr(result, "skip_message", ""))
    assert cursor is None
    registry.end_pause()
    assert len(asked_for(migration_failed, instance)) == 1


@pytest.mark.parametrize("code", ["lease_held", "cancelled", "rate_limited"])
def test_a_run_that_failed_with_a_code_of_ours_has_told_all_there_is(
    instance: DagsterInstance, registry: Registry, migration: Migration, code: str
) -> None:
    from dagster import Failure

    failed_run(instance, registry, migration.token, Failure("no", metadata={"error_code": code}))
    said(migration_failed, instance)
    after = registry.get(migration.token)
    assert (after.state, after.error_code, after.start_wanted_at) == (State.PENDING_REPO, None, None)


def test_what_has_failed_by_its_own_word_keeps_its_error(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    registry.acquire_lease(migration.token, "a-run", 90)
    registry.fail(migration.token, PermanentError("gone for good"), holder="a-run")
    registry.release_leases("a-run")
    failed_run(instance, registry, migration.token, ZeroDivisionError())
    said(migration_failed, instance)
    assert registry.get(migration.token).error_text == "gone for good"


def test_one_that_another_run_works_on_or_waits_for_is_left_alone(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    failed_run(instance, registry, migration.token, ZeroDivisionError())
    run = run_of(instance, migration.token, DagsterRunStatus.STARTED)
    said(migration_failed, instance)
    assert registry.get(migration.token).state is State.PENDING_REPO
    instance.report_run_failed(run)
    registry.acquire_lease(migration.token, "another", 90)
    said(migration_failed, instance)
    assert registry.get(migration.token).state is State.PENDING_REPO


def test_a_failure_is_looked_at_from_where_the_tick_before_has_ended_and_looking_twice_is_no_harm(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    failed_run(instance, registry, migration.token, ZeroDivisionError())
    _, cursor = tick(migration_failed, instance)
    assert cursor
    registry.retry(migration.token)
    _, cursor = tick(migration_failed, instance, cursor)
    assert registry.get(migration.token).state is State.PENDING_REPO
    tick(migration_failed, instance, "edited by hand")
    assert registry.get(migration.token).state is State.PENDING_REPO


def test_runs_of_no_migration_are_no_matter(instance: DagsterInstance) -> None:
    run_of(instance, "no-token", DagsterRunStatus.FAILURE)
    assert "(1 runs looked at)" in said(migration_failed, instance)
