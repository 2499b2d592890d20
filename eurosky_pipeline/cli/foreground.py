"""One run of the job `migrate_account` in this process, with bars: what `eurosky migrate` and `eurosky demo` share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eurosky_pipeline.cli.output import tell
from eurosky_pipeline.cli.run_outcome import Outcome, failure_of, is_interrupted, outcome_of

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult

    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.transfer.progress import ProgressSink

_CANCELLED = "cancelled"


def run_migration(token: str, registry: Registry) -> Outcome:
    """One run of the job, with bars. `prepare_instance` has been called before; a failed migration is an outcome.

    Raises:
        PausedError: nothing may start now, and nothing has.
        LeaseHeldError: another run works on it; there is none of ours, that would look in the UI like a failed one.
    """
    from eurosky_pipeline.cli.bars import ForegroundProgress
    from eurosky_pipeline.orchestration.instance import open_instance
    from eurosky_pipeline.orchestration.run_queue import take_out_of_queue
    from eurosky_pipeline.registry.cancellation import is_held
    from eurosky_pipeline.registry.registry import LeaseHeldError

    migration = registry.get(token)
    tell(f"{token}: {migration.did}")
    if is_held(migration, datetime.now(UTC)):
        raise LeaseHeldError(
            f"run {migration.lease_holder} works on it",
            hint=f"watch it in the UI, or with `eurosky migrations show {token}`; a run that died loses its hold "
            "within two minutes",
        )
    with open_instance() as instance, ForegroundProgress() as progress:
        for run_id in take_out_of_queue(instance, token, "taken out of the queue to be run in a terminal"):
            tell(f"{token}: run {run_id} was waiting in the queue; it is taken out, and the migration runs here")
        result = _execute(token, registry, instance, progress)
        is_stopped = is_interrupted(result)
        if is_stopped:  # Dagster takes an interruption that it did not ask for as a failure; this one a person wanted
            instance.report_run_canceled(result.dagster_run, message="stopped in the terminal")
        elif not result.success and failure_of(result)[0] == _CANCELLED:
            instance.report_run_canceled(result.dagster_run, message="its migration was cancelled")
    return outcome_of(token, registry, result, is_stopped=is_stopped)


def _execute(
    token: str, registry: Registry, instance: DagsterInstance, progress: ProgressSink
) -> ExecuteInProcessResult:
    from eurosky_pipeline.definitions import build_defs
    from eurosky_pipeline.orchestration.partitions import MIGRATIONS
    from eurosky_pipeline.orchestration.steps import run_tags
    from eurosky_pipeline.orchestration.workers import worker_tag

    instance.add_dynamic_partitions(MIGRATIONS.name or "", [token])
    job = build_defs(progress=progress).resolve_job_def("migrate_account")
    registry.require_not_paused()
    return job.execute_in_process(
        instance=instance,
        partition_key=token,
        tags={**run_tags(registry.get(token)), **worker_tag()},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
