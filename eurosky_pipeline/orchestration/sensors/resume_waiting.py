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
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.watch import open_watch
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
    watch = open_watch(load_settings())
    try:
        pause = watch.paused()
        if pause is not None:
            return SkipReason(f"nothing is started: {pause}")
        due = watch.due(now, starts.MAX_LOOKED_AT_PER_TICK)
        earliest = None if due else watch.earliest_resume()
    finally:
        watch.close()
    room = starts.room(context.instance) if due else 0
    requests = list(islice(_resumptions(context.instance, due, now), room))
    if not requests:
        told = (
            f"{len(due)} have a run under way, were stopped, or were started in vain" if due else "none may go on yet"
        )
        full = f"; {starts.MAX_QUEUED} runs are queued" if due and not room else ""
        first = f"; the first may on {earliest:%Y-%m-%d at %H:%M:%S} UTC" if earliest else ""
        return SkipReason(f"no migration to resume ({told}{first}{full})")
    for request in requests:
        context.log.info(f"[{request.partition_key}] has waited until {request.tags[RESUME_AT_TAG]}: it goes on")
    context.log.info(f"{len(requests)} of {len(due)} migrations that may go on are resumed in this tick")
    tokens = [str(request.partition_key) for request in requests]
    return SensorResult(dynamic_partitions_requests=[MIGRATIONS.build_add_request(tokens)], run_requests=requests)


def _resumptions(instance: DagsterInstance, due: list[Migration], now: datetime) -> Iterator[RunRequest]:
    """A run request for each, but for those that a run works on, that a person has stopped, or that runs have been
    started for in vain.

    Its key is the token and the end of the wait, so that no wait is ended twice; and how many runs of it have come to
    nothing before the first step, after which the migration waits as it did.
    """
    for migration in due:
        if migration.lease_expires_at is not None and migration.lease_expires_at > now:
            continue
        resume_at = migration.resume_at.isoformat(timespec="seconds") if migration.resume_at else "any time"
        before = starts.before(instance, migration.token, {RESUME_AT_TAG: resume_at})
        if before.can_start:
            yield starts.request(migration, f"{resume_at}/{before.ended}", {RESUME_AT_TAG: resume_at})
