"""`resume_waiting`: runs of what has waited for a host's limit, once it may go on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.sensors import starts
from eurosky_pipeline.orchestration.steps import queue_tags
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.settings import load_settings

RESUME_AT_TAG = "eurosky/resume_at"
"""Of a run that `resume_waiting` has asked for: the end of the wait that it ends."""


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a run of every migration that waits for a host's rate limit, once it may go on.",
)
def resume_waiting(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick."""
    now = datetime.now(UTC)
    registry = open_registry(load_settings())
    try:
        due, earliest = registry.due(now), registry.earliest_resume()
    finally:
        registry.close()
    requests = list(islice(_resumptions(context.instance, due, now), starts.MAX_STARTS_PER_TICK))
    if not requests:
        told = f"{len(due)} have a run under way, or have been started in vain" if due else "none may go on yet"
        first = f"; the first may on {earliest:%Y-%m-%d at %H:%M:%S} UTC" if earliest and not due else ""
        return SkipReason(f"no migration to resume ({told}{first})")
    for request in requests:
        context.log.info(f"[{request.partition_key}] has waited until {request.tags[RESUME_AT_TAG]}: it goes on")
    context.log.info(f"{len(requests)} of {len(due)} migrations that may go on are resumed in this tick")
    tokens = [str(request.partition_key) for request in requests]
    return SensorResult(dynamic_partitions_requests=[MIGRATIONS.build_add_request(tokens)], run_requests=requests)


def _resumptions(instance: DagsterInstance, due: list[Migration], now: datetime) -> Iterator[RunRequest]:
    """A run request for each, but for those that a run works on, or that runs have been started for in vain.

    Its key is the token and the end of the wait, so that no wait is ended twice; and how many runs of it have come to
    nothing before the first step, after which the migration waits as it did.
    """
    for migration in due:
        if migration.lease_expires_at is not None and migration.lease_expires_at > now:
            continue
        resume_at = migration.resume_at.isoformat(timespec="seconds") if migration.resume_at else "any time"
        ended = starts.starts_before(instance, migration.token, {RESUME_AT_TAG: resume_at})
        if ended is not None:
            yield RunRequest(
                partition_key=migration.token,
                run_key=f"{migration.token}/{resume_at}/{ended}",
                tags={**queue_tags(migration), RESUME_AT_TAG: resume_at},
            )
