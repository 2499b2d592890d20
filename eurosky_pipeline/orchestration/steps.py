"""What every asset does around its work: hold the lease, resume a stopped migration, and after a failure try again,
put the migration off, or record the failure truly."""

import functools
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dagster import AssetExecutionContext, DagsterExecutionInterruptedError, Failure, RetryRequested
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.errors import ConflictError, EuroskyError, FatalError, SettingsError, StoppedError
from eurosky_pipeline.orchestration.lanes import BULK, BULK_DESTINATION_TAG, DESTINATION_TAG, LANE_TAG, SOURCE_TAG
from eurosky_pipeline.orchestration.migration_asset import PutOff
from eurosky_pipeline.orchestration.outlook import ComeBack, TryAgain, outlook
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.registry.cancellation import MigrationCancelled, cancelled_error
from eurosky_pipeline.registry.holds import LeaseHeldError
from eurosky_pipeline.registry.lease import hold_lease
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import STOPPED, State
from eurosky_pipeline.registry.vault import VaultError
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.progress import ProgressSink, SilentProgress
from eurosky_pipeline.xrpc.workers import Stop

ATTEMPT_TAG = "eurosky/attempt"
"""Of a run that a sensor has asked for: the number of the attempt that it shall be, so that of two runs that were asked
for the same one begins."""
_NO_FINDINGS = frozenset({"input_missing", "destination_active"})
"""Codes of what was refused before anything was done."""


@dataclass(frozen=True, slots=True)
class Step:
    """One asset's work on one migration: its row when the work began, the registry, its folders.

    `stop` is set when the work has to end. `note` tells the person in the foreground, if there is one, why nothing goes
    on; threads may call it.
    """

    migration: Migration
    registry: Registry
    files: Workspace
    stop: threading.Event
    note: Callable[[str], None] = lambda _: None
    started_s: float = field(default_factory=time.monotonic)

    @property
    def token(self) -> str:
        return self.migration.token

    def require_imported(self) -> None:
        """Raises FatalError where the repository has not been imported yet: a blob sent before it is lost to the
        destination, and a destination without records misses no blob."""
        if self.migration.state is State.PENDING_REPO:
            raise FatalError(
                "the repository is not at the destination yet",
                code="repo_not_imported",
                hint="materialize imported_repo first",
            )

    @property
    def duration_s(self) -> float:
        return round(time.monotonic() - self.started_s, 3)


@contextmanager
def migration_step(
    context: AssetExecutionContext,
    registry_resource: RegistryResource,
    workspace: WorkspaceResource,
    *,
    is_preparing: bool = False,
) -> Iterator[Step]:
    """Work on the migration of the run's partition.

    After a transient error the step is tried again, a few times; a host's limit that lasts longer than a run waits
    makes the migration `waiting`. Any other error on purpose, and the last transient one, marks it `failed` with
    text and code; one that is nobody's purpose does too, without its text, which nobody has looked through for
    secrets. Being stopped, and finding that another run holds the migration, change nothing; where a person wants it
    cancelled, the step ends with that code, and it is so when the run ends. A finished migration stays finished where
    the failure tells nothing of what is at the destination.

    Args:
        is_preparing: the step asks the source and writes files here, and changes nothing at the destination.

    Raises:
        Failure: with what happened and what to do next.
        RetryRequested: the wait before the next attempt is over. The state is as it was.
        PutOff: the migration waits, since now or since another step of this run; or a sensor has asked for this run,
            and another one makes, or has made, the attempt.
    """
    token = context.partition_key
    registry, stop = registry_resource.opened(), Stop()
    attempt, is_begun = _asked_for(context), False
    try:
        with hold_lease(registry, token, context.run.run_id, stop, attempt=attempt) as is_first_step:
            is_begun = True
            migration = _take_up(registry, token, is_first_step=is_first_step)
            _tag_run(context, migration)
            try:
                yield Step(migration, registry, workspace.of(token, stop), stop, _foreground(context))
            except (StoppedError, MigrationCancelled, DagsterExecutionInterruptedError):
                registry_resource.note_stop()
                raise
            except EuroskyError as error:
                _go_on_if_worthwhile(context, registry, error, stop)
                if not _stays_finished(migration, error, is_preparing=is_preparing):
                    registry.fail(token, error, holder=context.run.run_id)
                context.log.error(_told_with_stack(context, error))  # noqa: TRY400 - it would add what has led to it
                raise
            except Exception as error:
                text = f"an unexpected {type(error).__name__} in {context.asset_key.to_user_string()}"
                internal = FatalError(text, code="internal", hint=f"see the log of run {context.run.run_id}")
                registry.fail(token, internal, holder=context.run.run_id)
                raise
    except EuroskyError as error:
        if attempt is not None and not is_begun and _is_anothers(context, registry, error):
            context.log.warning(f"[{token}] nothing to do for this run: {error.message} [{error.code}]")
            raise PutOff from None
        raise Failure(
            description=f"[{token}] {error.with_hint()}",
            metadata={"error_code": error.code, "token": token},
            allow_retries=False,
        ) from None


def _asked_for(context: AssetExecutionContext) -> int | None:
    """The number of the attempt that a sensor has asked this run for. A run that a person makes of it, by executing it
    once more, has its tags and is a wish of its own."""
    number = context.run.tags.get(ATTEMPT_TAG, "")
    is_number = re.fullmatch("[0-9]{1,9}", number) is not None
    return int(number) if is_number and PARENT_RUN_ID_TAG not in context.run.tags else None


def _is_anothers(context: AssetExecutionContext, registry: Registry, error: EuroskyError) -> bool:
    """Whether another run works on the migration, and this one never has."""
    if not isinstance(error, LeaseHeldError):
        return False
    return all(made.holder != context.run.run_id for made in registry.attempts_of(context.partition_key))


def _stays_finished(migration: Migration, error: EuroskyError, *, is_preparing: bool) -> bool:
    """A run of a finished migration that lacks a password, a key, a setting or a file has found nothing out about it;
    nor has one that could not ask the source again, or was refused since the account is in use by now."""
    is_no_finding = isinstance(error, SettingsError | VaultError) or error.code in _NO_FINDINGS
    return migration.state is State.PENDING_PREFS and (is_preparing or is_no_finding)


def _go_on_if_worthwhile(
    context: AssetExecutionContext, registry: Registry, error: EuroskyError, stop: threading.Event
) -> None:
    """Returns if the error is the step's last word.

    Raises: RetryRequested, after its wait; PutOff; StoppedError: `stop` was set during the wait.
    """
    next_ = outlook(error, context.retry_number + 1, load_settings().max_wait_s)
    what = f"{error.message} [{error.code}]"
    if isinstance(next_, ComeBack):
        resume_at = datetime.now(UTC) + timedelta(seconds=next_.wait_s)
        if registry.wait(context.partition_key, resume_at, error, holder=context.run.run_id):
            _tell(context, f"{what}; the migration waits until {resume_at:%Y-%m-%d %H:%M:%S} UTC")
            raise PutOff
    elif isinstance(next_, TryAgain) and not context.get_step_execution_context().retry_mode.disabled:
        _tell(context, f"{what}; attempt {next_.attempt} of {next_.attempts} in {next_.wait_s:.0f} s")
        # not left to Dagster, which heeds no interruption while it waits; nor would anybody renew the lease
        if stop.wait(next_.wait_s):
            raise StoppedError("asked to stop while it waited to try again")
        raise RetryRequested(max_retries=next_.attempts) from None


def _tell(context: AssetExecutionContext, text: str) -> None:
    """In the run's log; and to the person in the foreground, where the asset has said that there may be one."""
    context.log.warning(f"[{context.partition_key}] {context.asset_key.to_user_string()}: {text}")
    _foreground(context)(text)


def _foreground(context: AssetExecutionContext) -> Callable[[str], None]:
    """Notes of this asset, for who watches; nobody does where the asset has not asked for a ProgressSink."""
    progress: ProgressSink = getattr(context.resources, "progress", None) or SilentProgress()
    return functools.partial(progress.note, context.asset_key.to_user_string())


def _told_with_stack(context: AssetExecutionContext, error: EuroskyError) -> str:
    """For the run's log: what failed, and the lines of code that led there. Without the errors that it came of: what
    libraries say may hold a secret."""
    name = context.asset_key.to_user_string()
    stack = "".join(traceback.format_exception(error, chain=False))
    return f"[{context.partition_key}] {name} has failed: {error.with_hint()} [{error.code}]\n{stack}"


def _take_up(registry: Registry, token: str, *, is_first_step: bool) -> Migration:
    """Resume a stopped migration, at a run's first step only.

    Later, a failure or a wait is this run's own, of a step beside this one: to resume it would wipe it out. What a
    person has cancelled, a run that was queued before must not bring back.
    """
    migration = registry.get(token)
    if migration.state is State.CANCELLED or migration.cancel_requested_at is not None:
        raise cancelled_error(token)
    if not is_first_step and migration.state is State.WAITING:
        raise PutOff
    if not is_first_step and migration.state in STOPPED:
        raise ConflictError(
            f"{token} has failed in another step of this run",
            code="failed_before",
            hint=f"`eurosky migrations show {token}` tells what went wrong there",
        )
    return registry.resume(token)


def run_tags(migration: Migration) -> dict[str, str]:
    """The tags that a run of this migration carries."""
    whose = {"eurosky/did": migration.did, "eurosky/handle": migration.handle}
    return {**queue_tags(migration), **{name: value for name, value in whose.items() if value}}


def queue_tags(migration: Migration) -> dict[str, str]:
    """Those that it is queued with. Whose account it is comes with its first step: Dagster keeps what a sensor has
    asked for, and there nobody could be forgotten."""
    return {
        SOURCE_TAG: migration.source_pds,
        DESTINATION_TAG: migration.destination_pds,
        LANE_TAG: BULK,
        BULK_DESTINATION_TAG: migration.destination_pds,
    }


def _tag_run(context: AssetExecutionContext, migration: Migration) -> None:
    """A run that a person launched in the UI does not say yet whose account it is. Its lane is what it was begun in."""
    if not context.run.tags.get("eurosky/did"):
        tags = {name: value for name, value in run_tags(migration).items() if name not in context.run.tags}
        context.instance.add_run_tags(context.run.run_id, tags)
