"""The sensor that starts new migrations: one run request for each, once."""

from __future__ import annotations

from dagster import DagsterInstance, SensorResult, SkipReason, build_sensor_context

from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
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
        assert (request.partition_key, request.run_key) == (migration.token, migration.token)
        assert request.tags["eurosky/did"] == migration.did


def test_one_that_has_its_partition_is_not_asked_for_again(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name, [migration.token])
        assert isinstance(tick(instance), SkipReason)


def test_one_that_has_failed_is_left_to_a_person(migration: Migration, registry: Registry) -> None:
    registry.fail(migration.token, PermanentError("no"))
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(instance), SkipReason)
