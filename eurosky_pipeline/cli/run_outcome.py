"""What came of a migration that was run in the foreground: by its row, its ledger, and the events of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eurosky_pipeline.cli.output import moment

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

    from eurosky_pipeline.errors import EuroskyError
    from eurosky_pipeline.registry.registry import Registry

EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, EXIT_WAITING = 0, 1, 3, 4
_REASONS_SHOWN = 10
STOPPED = "stopped"


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


def waiting_line(outcome: Outcome) -> str:
    """For whom the migration waits, until when, and what goes on then."""
    return (
        f"waits until {outcome.resume_at}: {outcome.error} [{outcome.error_code}] → then the sensor resume_waiting "
        f"of `eurosky up`, or `eurosky migrate {outcome.token}` goes on where it stopped"
    )


def severity(code: int) -> int:
    """The larger, the worse: of several runs, the command ends with the worst one's code."""
    return [EXIT_DONE, EXIT_PARTIAL, EXIT_WAITING, EXIT_FAILED].index(code)


def not_begun(registry: Registry, token: str, error: EuroskyError) -> Outcome:
    """Of a migration whose turn has not come, because of this error."""
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


def outcome_of(token: str, registry: Registry, result: ExecuteInProcessResult, *, is_stopped: bool) -> Outcome:
    """Of a run that is over; `is_stopped` if a person has ended it in the terminal."""
    from eurosky_pipeline.registry.states import State

    migration = registry.get(token)
    progress = migration.progress_data
    failed = len(progress.get("failed_blobs", []))
    status = str(progress.get("reconciliation_status", ""))
    error_code = error = ""
    if is_stopped:
        error_code, error = STOPPED, "stopped; what is done is kept, and running it again goes on from there"
    elif not result.success:
        error_code, error = failure_of(result)
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


def failure_of(result: ExecuteInProcessResult) -> tuple[str, str]:
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


def is_interrupted(result: ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C (or SIGTERM) ended the run, inside a step or between two."""
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    failures += [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    return any(error is not None and error.cls_name == "DagsterExecutionInterruptedError" for error in failures)
