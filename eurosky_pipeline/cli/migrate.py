"""`eurosky migrate`: the job `migrate_account`, in this process, with a progress bar."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_table, tell

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult

    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.transfer.progress import ProgressSink

EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, EXIT_WAITING = 0, 1, 3, 4
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one foreground run ended."""

    token: str
    did: str
    state: str
    run_id: str
    blobs: str
    reconciliation_status: str
    failed_blobs: int
    error_code: str
    error: str
    exit_code: int


@click.command()
@click.argument("tokens", nargs=-1, metavar="TOKEN…")
@click.option("--all-failed", is_flag=True, help="Every migration in state failed.")
@json_option
def migrate(tokens: tuple[str, ...], *, all_failed: bool, is_json: bool) -> None:
    """Run migrations now, in the foreground, one after the other.

    Each is a run of the job migrate_account, seen in the Dagster UI like any other. Running one again is safe: what
    is done is checked and not done twice.

    \b
    Exit code: 0 everything arrived · 3 some blobs cannot be had · 4 waits for a rate limit
               1 failed, or stopped by Ctrl-C · 2 bad arguments
    """
    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.orchestration.instance import prepare_instance
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.registry.states import State
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    try:
        chosen = [migration.token for migration in registry.find([State.FAILED])] if all_failed else []
        chosen += [registry.get(token).token for token in dict.fromkeys(tokens)]
    except SettingsError as error:
        raise click.UsageError(error.with_hint()) from None
    if not chosen and not all_failed:
        raise click.UsageError("name at least one TOKEN, or --all-failed; `eurosky migrations list` shows them")
    prepare_instance(settings)
    outcomes: list[Outcome] = []
    for token in chosen:
        outcomes.append(run_migration(token, registry))
        if outcomes[-1].error_code == STOPPED:
            break
    registry.close()
    if is_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        _print_outcomes(outcomes)
    sys.exit(max((outcome.exit_code for outcome in outcomes), key=_severity, default=EXIT_DONE))


def run_migration(token: str, registry: Registry) -> Outcome:
    """One run of the job, with bars. `prepare_instance` has been called before; a failed migration is an outcome."""
    from dagster import DagsterInstance, DagsterRunStatus

    from eurosky_pipeline.cli.bars import ForegroundProgress

    tell(f"{token}: {registry.get(token).did}")
    with DagsterInstance.get() as instance, ForegroundProgress() as progress:
        result = _execute(token, registry, instance, progress)
        run = instance.get_run_by_id(result.run_id)
    return _outcome(token, registry, result, is_stopped=run is not None and run.status is DagsterRunStatus.CANCELED)


def _execute(
    token: str, registry: Registry, instance: DagsterInstance, progress: ProgressSink
) -> ExecuteInProcessResult:
    from eurosky_pipeline.definitions import build_defs
    from eurosky_pipeline.orchestration.partitions import MIGRATIONS
    from eurosky_pipeline.orchestration.steps import FOREGROUND_TAG, run_tags

    instance.add_dynamic_partitions(MIGRATIONS.name or "", [token])
    return (
        build_defs(progress=progress)
        .resolve_job_def("migrate_account")
        .execute_in_process(
            instance=instance,
            partition_key=token,
            tags={**run_tags(registry.get(token)), FOREGROUND_TAG: "true"},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    )


def _outcome(token: str, registry: Registry, result: ExecuteInProcessResult, *, is_stopped: bool) -> Outcome:
    migration = registry.get(token)
    progress = migration.progress_data
    failed = len(progress.get("failed_blobs", []))
    status = str(progress.get("reconciliation_status", ""))
    error_code, error = migration.error_code or "", migration.error_text or ""
    if is_stopped:
        error_code, error = STOPPED, "stopped; what is done is kept, and running it again goes on from there"
    elif not result.success and not error:
        error_code, error = "run_failed", _failure_text(result)
    if not result.success:
        code = EXIT_FAILED
    elif migration.state == "waiting":
        code = EXIT_WAITING
    else:
        code = EXIT_DONE if status in ("complete", "skipped") and not failed else EXIT_PARTIAL
    return Outcome(
        token=token,
        did=migration.did,
        state=str(migration.state),
        run_id=result.run_id,
        blobs=f"{progress.get('blobs_completed', 0)}/{progress.get('blobs_total', 0)}",
        reconciliation_status=status,
        failed_blobs=failed,
        error_code=error_code,
        error=error,
        exit_code=code,
    )


def _failure_text(result: ExecuteInProcessResult) -> str:
    """What the failed step said: the registry knows nothing where another run holds the migration."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data.user_failure_data
            return (data.description if data else None) or "a step failed; the Dagster UI shows its log"
    return "the run failed; the Dagster UI shows its log"


def _print_outcomes(outcomes: list[Outcome]) -> None:
    header = ["token", "state", "blobs", "reconciliation", "run"]
    rows = [(o.token, o.state, o.blobs, o.reconciliation_status, o.run_id) for o in outcomes]
    print_table(header, rows)
    for outcome in outcomes:
        if outcome.error:
            tell(f"{outcome.token}: {outcome.error} [{outcome.error_code}]")
        elif outcome.exit_code == EXIT_PARTIAL:
            tell(f"{outcome.token}: {outcome.failed_blobs} blobs are not there; its reconciliation report names them")


def _severity(code: int) -> int:
    return [EXIT_DONE, EXIT_PARTIAL, EXIT_WAITING, EXIT_FAILED].index(code)
