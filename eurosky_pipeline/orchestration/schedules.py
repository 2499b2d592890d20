"""What happens by the clock: what is of no more use is deleted. Each tick looks first, and asks for a run only where
there is something to do."""

from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultScheduleStatus,
    OpExecutionContext,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    in_process_executor,
    job,
    op,
    schedule,
)

from eurosky_pipeline.artifacts.purge import purge_migration
from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.orchestration.lanes import CRITICAL, LANE_TAG
from eurosky_pipeline.registry.purge import open_purge
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.settings import load_settings


@op(description="Deletes the passwords that have expired, or that no migration needs any more.")
def delete_useless_credentials(context: OpExecutionContext) -> None:
    registry = open_registry(load_settings())
    try:
        gone = registry.purge_credentials()
    finally:
        registry.close()
    context.log.info(
        f"{gone.total} passwords deleted: {gone.expired} had expired, {gone.given_up} were of migrations that are "
        f"cancelled or completed, {gone.finished} of migrations that are finished with nothing missing"
    )


@op(description="Deletes what migrations have left that ended more than EUROSKY_RETENTION_DAYS ago.")
def delete_what_finished_migrations_left(context: OpExecutionContext) -> None:
    settings = load_settings()
    if settings.retention_days is None:
        context.log.info("EUROSKY_RETENTION_DAYS is not set: nothing is deleted")
        return
    migrations = files = size_bytes = 0
    purge = open_purge(settings)
    try:
        for migration in purge.due(ended_before=datetime.now(UTC) - timedelta(days=settings.retention_days)):
            try:
                gone = purge_migration(purge, settings, migration.token)
            except ConflictError as error:
                context.log.warning(f"[{migration.token}] left as it is: {error.message}")
                continue
            migrations, files, size_bytes = migrations + 1, files + gone.files, size_bytes + gone.size_bytes
            context.log.info(
                f"[{gone.token}] purged: {gone.files} files, {gone.size_bytes} bytes, {gone.ledger_rows} rows of the "
                f"ledger, {gone.credentials} passwords"
            )
    finally:
        purge.close()
    context.log.info(f"{migrations} migrations purged: {files} files, {size_bytes} bytes")


@job(
    executor_def=in_process_executor,
    tags={LANE_TAG: CRITICAL},
    description="Delete the passwords that are of no more use.",
)
def purge_credentials_job() -> None:
    delete_useless_credentials()


@job(
    executor_def=in_process_executor,
    tags={LANE_TAG: CRITICAL},
    description="Delete what migrations have left that ended long ago.",
)
def purge_finished_job() -> None:
    delete_what_finished_migrations_left()


@schedule(
    cron_schedule="*/15 * * * *",
    job=purge_credentials_job,
    default_status=DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description="Every 15 minutes: passwords that are of no more use are deleted.",
)
def purge_credentials(_context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """One tick. On by itself: what it deletes cannot be used any more."""
    registry = open_registry(load_settings())
    try:
        count = registry.count_useless_credentials()
    finally:
        registry.close()
    return RunRequest() if count else SkipReason("no password is useless yet")


@schedule(
    cron_schedule="17 3 * * *",
    job=purge_finished_job,
    default_status=DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description="Every night, where EUROSKY_RETENTION_DAYS is set: what migrations have left that ended before that.",
)
def purge_finished(_context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """One tick. On by itself: without the setting it does nothing."""
    settings = load_settings()
    if settings.retention_days is None:
        return SkipReason("EUROSKY_RETENTION_DAYS is not set: nothing is deleted by itself")
    purge = open_purge(settings)
    try:
        is_due = next(purge.due(ended_before=datetime.now(UTC) - timedelta(days=settings.retention_days)), None)
    finally:
        purge.close()
    return RunRequest() if is_due else SkipReason(f"nothing ended more than {settings.retention_days} days ago")


ALL_SCHEDULES: tuple[ScheduleDefinition, ...] = (purge_credentials, purge_finished)
ALL_PURGE_JOBS = (purge_credentials_job, purge_finished_job)
