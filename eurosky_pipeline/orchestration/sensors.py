"""What starts runs by itself."""

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.steps import run_tags
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

MAX_STARTS_PER_TICK = 50
MAX_STARTS_IN_VAIN = 3
"""How many runs of a migration may end before their first step until it is left to a person."""


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
    starts = {migration.token: _starts_before(context.instance, migration.token) for migration in waiting}
    chosen = [migration for migration in waiting if starts[migration.token] is not None][:MAX_STARTS_PER_TICK]
    if not chosen:
        return SkipReason(f"no new migration ({len(waiting)} have a run under way, or have been started in vain)")
    return SensorResult(
        dynamic_partitions_requests=[MIGRATIONS.build_add_request([migration.token for migration in chosen])],
        run_requests=[
            RunRequest(
                partition_key=migration.token,
                run_key=f"{migration.token}/{starts[migration.token]}",
                tags=run_tags(migration),
            )
            for migration in chosen
        ],
    )


def _starts_before(instance: DagsterInstance, token: str) -> int | None:
    """How many runs of this migration have ended; None if one is under way, or if that is enough."""
    tags = {PARTITION_NAME_TAG: token}
    if instance.get_runs_count(RunsFilter(tags=tags, statuses=NOT_FINISHED_STATUSES)):
        return None
    starts = instance.get_runs_count(RunsFilter(tags=tags))
    return starts if starts < MAX_STARTS_IN_VAIN else None
