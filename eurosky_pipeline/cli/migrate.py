"""`eurosky migrate`: the job `migrate_account`, in this process, with a progress bar."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.migrations_wanted import failed_tokens
from eurosky_pipeline.cli.output import convert_option, json_option, moment, print_json, print_table, tell
from eurosky_pipeline.cli.telling import tell_sinks

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult

    from eurosky_pipeline.errors import EuroskyError
    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.transfer.progress import ProgressSink

EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, EXIT_WAITING = 0, 1, 3, 4
_REASONS_SHOWN = 10
STOPPED, CANCELLED = "stopped", "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one foreground run ended. `resume_at` (ISO 8601, UTC) is None unless the migration waits.

    `report` is where the reconciliation's table of blobs is, empty where the run did not come so far; `kept_back` says
    why blobs are not there, a sentence for each reason.
    """

    token: str
    did: str
    state: str
    resume_at: str | None
    run_id: str
    blobs: str
    reconciliation_status: str
    failed_blobs: int
    error_code: str
    error: str
    warnings: tuple[str, ...]
    exit_code: int
    report: str = ""
    kept_back: tuple[str, ...] = ()


@click.command()
@click.argument("tokens", nargs=-1, metavar="TOKEN…")
@click.option(
    "--all-failed", is_flag=True, help="Every migration in state failed, but of accounts that have a newer one."
)
@convert_option
@json_option
def migrate(tokens: tuple[str, ...], *, all_failed: bool, convert_legacy_blobs: bool | None, is_json: bool) -> None:
    """Run migrations now, in the foreground, one after the other.

    Each is a run of the job migrate_account, seen in the Dagster UI like any other. Running one again is safe: the
    repository is exported and compared anew, and what the destination already has is not sent again.
    --convert-legacy-blobs, or its opposite, is remembered for these migrations. In a pause (`eurosky pause`) none is
    begun.

    One that waits in the queue of `eurosky up` is taken out of it and run here; one that a run works on is left to
    that run, with exit code 1 and the code lease_held.

    \b
    Exit code: 0 everything arrived · 3 some blobs cannot be had
               4 a host's rate limit is waited for; run it again then
               1 failed, or stopped by Ctrl-C · 2 bad arguments
    """
    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.orchestration.instance import prepare_instance
    from eurosky_pipeline.registry.controls import PausedError
    from eurosky_pipeline.registry.registry import LeaseHeldError, open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    registry.require_not_paused()
    registry.purge_credentials()
    try:
        failed = failed_tokens(registry) if all_failed else []
        chosen = list(dict.fromkeys([*failed, *(_taken_up(registry, token) for token in tokens)]))
    except SettingsError as error:
        raise click.UsageError(error.with_hint()) from None
    if not chosen and not all_failed:
        raise click.UsageError("name at least one TOKEN, or --all-failed; `eurosky migrations list` shows them")
    if convert_legacy_blobs is not None:
        for token in chosen:
            registry.override_conversion(token, is_wanted=convert_legacy_blobs)
    prepare_instance(settings)
    outcomes: list[Outcome] = []
    for token in chosen:
        try:
            outcomes.append(run_migration(token, registry))
        except PausedError as error:  # since the command began
            outcomes += [_not_begun(registry, each, error) for each in chosen[len(outcomes) :]]
            break
        except LeaseHeldError as error:
            outcomes.append(_not_begun(registry, token, error))
        if outcomes[-1].error_code == STOPPED:
            break
    registry.close()
    tell_sinks(settings)
    if is_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        _print_outcomes(outcomes)
    sys.exit(max((outcome.exit_code for outcome in outcomes), key=_severity, default=EXIT_DONE))


def _taken_up(registry: Registry, token: str) -> str:
    """A cancelled migration that a person names is wanted again.

    Raises: SettingsError for an unknown token, LeaseHeldError while a run is about to stop working on it, ConflictError
    for one that is forgotten.
    """
    from eurosky_pipeline.registry.states import State

    migration = registry.get(token)
    migration.require_known()
    if migration.state is State.CANCELLED or migration.cancel_requested_at is not None:
        registry.retry(token)
    return token


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
        is_stopped = _is_interrupted(result)
        if is_stopped:  # Dagster takes an interruption that it did not ask for as a failure; this one a person wanted
            instance.report_run_canceled(result.dagster_run, message="stopped in the terminal")
        elif not result.success and _failure(result)[0] == CANCELLED:
            instance.report_run_canceled(result.dagster_run, message="its migration was cancelled")
    return _outcome(token, registry, result, is_stopped=is_stopped)


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


def _not_begun(registry: Registry, token: str, error: EuroskyError) -> Outcome:
    """Of a migration whose turn has not come."""
    migration = registry.get(token)
    progress = migration.progress_data
    return Outcome(
        token=token,
        did=migration.did,
        state=str(migration.state),
        resume_at=moment(migration.resume_at),
        run_id="",
        blobs=f"{progress.get('blobs_completed', 0)}/{progress.get('blobs_total', 0)}",
        reconciliation_status=str(progress.get("reconciliation_status", "")),
        failed_blobs=len(progress.get("failed_blobs", [])),
        error_code=error.code,
        error=f"not begun: {error.with_hint()}",
        warnings=(),
        exit_code=EXIT_FAILED,
    )


def _outcome(token: str, registry: Registry, result: ExecuteInProcessResult, *, is_stopped: bool) -> Outcome:
    from eurosky_pipeline.registry.states import State

    migration = registry.get(token)
    progress = migration.progress_data
    failed = len(progress.get("failed_blobs", []))
    status = str(progress.get("reconciliation_status", ""))
    error_code = error = ""
    if is_stopped:
        error_code, error = STOPPED, "stopped; what is done is kept, and running it again goes on from there"
    elif not result.success:
        error_code, error = _failure(result)
        error = error.removeprefix(f"[{token}] ")  # as the UI, which lists runs, has it
    elif migration.state is State.WAITING:
        error_code, error = migration.error_code or "", migration.error_text or ""
    if not result.success:
        code = EXIT_FAILED
    elif migration.state is State.WAITING:
        code = EXIT_WAITING
    else:
        code = EXIT_DONE if status in ("complete", "skipped") and not failed else EXIT_PARTIAL
    return Outcome(
        token=token,
        did=migration.did,
        state=str(migration.state),
        resume_at=moment(migration.resume_at),
        run_id=result.run_id,
        blobs=f"{progress.get('blobs_completed', 0)}/{progress.get('blobs_total', 0)}",
        reconciliation_status=status,
        failed_blobs=failed,
        error_code=error_code,
        error=error,
        warnings=(*_asset_warnings(result), *(_warnings(progress) if result.success else ())),
        exit_code=code,
        report=_report(result),
        kept_back=_kept_back(registry, token) if code == EXIT_PARTIAL else (),
    )


def _report(result: ExecuteInProcessResult) -> str:
    """Where the run has put the reconciliation's table."""
    for event in result.all_events:
        if event.is_step_materialization and event.materialization.asset_key.path == ["reconciliation_report"]:
            return str(event.materialization.metadata["path"].value)
    return ""


def _kept_back(registry: Registry, token: str) -> tuple[str, ...]:
    """Why blobs are not at the destination, by the ledger: each reason with its number and one example, which names the
    limit where a limit it was."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for outcome in registry.each_outcome(token):
        if not outcome.is_there:
            counts[outcome.error_code] += 1
            examples.setdefault(outcome.error_code, outcome.error_text)
    return tuple(f"{count} {code or 'unknown'}: {examples[code]}" for code, count in counts.most_common(_REASONS_SHOWN))


def _asset_warnings(result: ExecuteInProcessResult) -> tuple[str, ...]:
    """What the assets found odd: the account's handle, server or signature, or what a conversion had to leave."""
    found = [
        event.materialization.metadata["warnings"].value
        for event in result.all_events
        if event.is_step_materialization and "warnings" in event.materialization.metadata
    ]
    return tuple(str(warning) for warnings in found if isinstance(warnings, list) for warning in warnings)


def _warnings(progress: Mapping[str, Any]) -> tuple[str, ...]:
    """What a person has to know of a run that did not fail."""
    found = []
    if progress.get("source_has_moved"):
        found.append("the source has moved on since the export; what was written since is not at the destination")
    if progress.get("reconciliation_error"):
        found.append(f"the reconciliation is not complete: {progress['reconciliation_error']}")
    return tuple(found)


def _failure(result: ExecuteInProcessResult) -> tuple[str, str]:
    """Code and text of what this run failed with; the registry's may be of an earlier one."""
    for event in result.all_events:
        if event.is_step_failure and (data := event.step_failure_data.user_failure_data) is not None:
            return str(data.metadata["error_code"].value), data.description or ""
    for event in result.all_events:
        cause = event.job_failure_data.error if event.is_job_failure else None
        while cause is not None and cause.cause is not None:
            cause = cause.cause
        if cause is not None and cause.cls_name == "SettingsError":  # raised while the run's resources were made
            return "settings", cause.message.partition(": ")[2].strip()
    return "internal", f"an unexpected error; the log of run {result.run_id} in the Dagster UI shows it"


def _is_interrupted(result: ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C (or SIGTERM) ended the run, inside a step or between two."""
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    failures += [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    return any(error is not None and error.cls_name == "DagsterExecutionInterruptedError" for error in failures)


def _print_outcomes(outcomes: list[Outcome]) -> None:
    header = ["token", "state", "blobs", "reconciliation", "run"]
    rows = [(o.token, o.state, o.blobs, o.reconciliation_status, o.run_id) for o in outcomes]
    if rows:
        print_table(header, rows)
    for outcome in outcomes:
        if outcome.exit_code == EXIT_WAITING:
            tell(f"{outcome.token}: {waiting_line(outcome)}")
        elif outcome.error:
            name = "" if outcome.error.startswith(outcome.token) else f"{outcome.token}: "
            tell(f"{name}{outcome.error} [{outcome.error_code}]")
        elif outcome.exit_code == EXIT_PARTIAL:
            tell(f"{outcome.token}: {outcome.failed_blobs} blobs are not there; {outcome.report} names them")
            for reason in outcome.kept_back:
                tell(f"  {reason}")
        for warning in outcome.warnings:
            tell(f"{outcome.token}: {warning}")


def waiting_line(outcome: Outcome) -> str:
    """For whom the migration waits, until when, and what goes on then."""
    return (
        f"waits until {outcome.resume_at}: {outcome.error} [{outcome.error_code}] → then the sensor resume_waiting "
        f"of `eurosky up`, or `eurosky migrate {outcome.token}` goes on where it stopped"
    )


def _severity(code: int) -> int:
    return [EXIT_DONE, EXIT_PARTIAL, EXIT_WAITING, EXIT_FAILED].index(code)
