"""`stuck_migrations`: runs that have vanished, and their migrations, which go on."""

from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.sensors import starts
from eurosky_pipeline.orchestration.workers import is_gone
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.watch import MAX_LOST_IN_A_ROW, OpenAttempt, PutRight, Watch, open_watch
from eurosky_pipeline.settings import load_settings

MAX_PUT_RIGHT_PER_TICK = 50
HANGING = timedelta(minutes=5)
"""A process that is there, and has not renewed its lease for so long, does not come back."""
_STOPPED = (DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELING)


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Puts right what runs have left that vanished, and asks for another run, "
    f"at most {MAX_LOST_IN_A_ROW - 1} times in a row.",
)
def stuck_migrations(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    A run has vanished where its process is gone for certain; where nobody can tell, once its lease has run out. The
    wish to be started is put down together with the end of the attempt, so that a tick that ends in between is no loss:
    `new_migrations` finds it too.
    """
    now = datetime.now(UTC)
    watch = open_watch(load_settings())
    try:
        page = watch.open_attempts(starts.MAX_LOOKED_AT_PER_TICK, context.cursor or "")
        context.update_cursor(page[-1].token if len(page) == starts.MAX_LOOKED_AT_PER_TICK else "")
        runs = _runs_of(context.instance, page)
        lost = [found for found in page if _is_lost(found, runs.get(found.run_id), now)]
        put_right = [
            (found, result)
            for found in lost[:MAX_PUT_RIGHT_PER_TICK]
            if (result := _put_right(context, watch, found, runs.get(found.run_id), now)) is not None
        ]
        pause = watch.paused() if put_right else None
    finally:
        watch.close()
    if len(lost) > MAX_PUT_RIGHT_PER_TICK:  # the rest of this page comes in the next tick
        context.update_cursor(lost[MAX_PUT_RIGHT_PER_TICK - 1].token)
    if not put_right:
        return SkipReason(f"no run has vanished ({len(page)} are under way)")
    requests = [] if pause else _requests(context.instance, put_right)
    context.log.info(f"{len(put_right)} runs have vanished; {len(requests)} migrations go on with another one")
    if not requests:
        return SkipReason(f"{len(put_right)} runs have vanished, and were put right{f'; {pause}' if pause else ''}")
    tokens = [str(request.partition_key) for request in requests]
    return SensorResult(dynamic_partitions_requests=[MIGRATIONS.build_add_request(tokens)], run_requests=requests)


def _runs_of(instance: DagsterInstance, page: list[OpenAttempt]) -> dict[str, DagsterRun]:
    ids = [found.run_id for found in page]
    return {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=ids))} if ids else {}


def _is_lost(found: OpenAttempt, run: DagsterRun | None, now: datetime) -> bool:
    is_process_gone = None if run is None else is_gone(run.tags)
    if is_process_gone:
        return True
    if found.lease_expires_at is None:
        return is_process_gone is None
    return found.lease_expires_at + (timedelta() if is_process_gone is None else HANGING) <= now


def _put_right(
    context: SensorEvaluationContext, watch: Watch, found: OpenAttempt, run: DagsterRun | None, now: datetime
) -> PutRight | None:
    """First the registry, which looks again; a run that has ended just now has told it so. Then Dagster's run."""
    is_stopped = run is not None and run.status in _STOPPED
    result = watch.put_right(found, now, is_startable=not is_stopped)
    if result is None:
        return None
    _report(context.instance, found.run_id)
    context.log.info(f"[{found.token}] run {found.run_id} has vanished; {_told(result, is_stopped=is_stopped)}")
    return result


def _report(instance: DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status in _STOPPED:
        instance.report_run_canceled(run, message="its process is gone")
    else:
        instance.report_run_failed(run, message="its process is gone")


def _told(result: PutRight, *, is_stopped: bool) -> str:
    if result.is_wanted:
        return f"the migration goes on (lost in a row: {result.lost_in_a_row} of {MAX_LOST_IN_A_ROW})"
    if result.migration.state is State.FAILED:
        return f"the migration is failed [{result.migration.error_code}]"
    return f"the migration stays {result.migration.state}{', since a person has stopped the run' if is_stopped else ''}"


def _requests(instance: DagsterInstance, put_right: list[tuple[OpenAttempt, PutRight]]) -> list[RunRequest]:
    wanted = [(found, result.migration) for found, result in put_right if result.is_wanted]
    room = starts.room(instance) if wanted else 0
    return [
        starts.request(migration, f"lost/{found.number}", {})
        for found, migration in wanted[:room]
        if not starts.is_under_way(instance, found.token)
    ]
