"""What starts runs by itself."""

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.steps import run_tags
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

MAX_STARTS_PER_TICK = 50


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.STOPPED,
    description="Adds a partition, and asks for a run, for every migration that was registered and never worked on.",
)
def new_migrations(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    Off until a person switches it on: until then migrations start by `eurosky migrate` or by hand in the UI.
    """
    registry = open_registry(load_settings())
    try:
        waiting = [migration for migration in registry.find([State.PENDING_REPO]) if migration.attempts == 0]
    finally:
        registry.close()
    known = set(context.instance.get_dynamic_partitions(MIGRATIONS.name or ""))
    chosen = [migration for migration in waiting if migration.token not in known][:MAX_STARTS_PER_TICK]
    if not chosen:
        return SkipReason(f"no new migration ({len(waiting)} wait for a run that was asked for)")
    return SensorResult(
        dynamic_partitions_requests=[MIGRATIONS.build_add_request([migration.token for migration in chosen])],
        run_requests=[
            RunRequest(partition_key=migration.token, run_key=migration.token, tags=run_tags(migration))
            for migration in chosen
        ],
    )
