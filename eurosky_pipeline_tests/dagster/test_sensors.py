"""The sensor that starts new migrations: one run request for each, once."""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason, build_sensor_context
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.orchestration.sensors import new_migrations
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry


def tick(instance: DagsterInstance) -> SensorResult | SkipReason:
    return new_migrations(build_sensor_context(instance=instance))


def test_a_new_migration_gets_its_partition_and_one_run(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        result = tick(instance)
        assert isinstance(result, SensorResult)
        assert [request.partition_keys for request in result.dynamic_partitions_requests] == [[migration.token]]
        (request,) = result.run_requests
        assert (request.partition_key, request.run_key) == (migration.token, f"{migration.token}/0")
        assert request.tags["eurosky/did"] == migration.did


def run_of(instance: DagsterInstance, token: str, status: DagsterRunStatus) -> None:
    create_run_for_test(instance, tags={"dagster/partition": token}, status=status)


def test_one_that_has_a_run_under_way_is_not_asked_for_again(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        run_of(instance, migration.token, DagsterRunStatus.STARTED)
        assert isinstance(tick(instance), SkipReason)


def test_one_whose_run_ended_before_its_first_step_is_started_anew_but_not_for_ever(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        for ended in (1, 2):
            run_of(instance, migration.token, DagsterRunStatus.CANCELED)
            (request,) = tick(instance).run_requests
            assert request.run_key == f"{migration.token}/{ended}"
        run_of(instance, migration.token, DagsterRunStatus.FAILURE)
        assert isinstance(tick(instance), SkipReason)


def test_one_that_has_failed_is_left_to_a_person(migration: Migration, registry: Registry) -> None:
    registry.fail(migration.token, PermanentError("no"))
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(instance), SkipReason)
