"""`migration_failed`: runs that failed without having told the registry, so that a migration does not stay pending of
which nobody knows that nothing comes of it; and what a stop has broken off of a backfill over finished ones.

Dagster's own run failure sensors forget a failure that they could not deal with, and begin with those that come after
their first tick. This one looks at the failed runs themselves, from where it has got to, and nothing is lost by looking
at one twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster_shared.error import SerializableErrorInfo

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.lanes import LANE_TAG
from eurosky_pipeline.orchestration.sensors import starts
from eurosky_pipeline.orchestration.sensors.new_migrations import WANTED_AT_TAG
from eurosky_pipeline.registry.attempts import STOPPED_BEFORE_END
from eurosky_pipeline.registry.migration import Migration, is_token
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.watch import Watch, open_watch
from eurosky_pipeline.registry.wishes import STARTABLE
from eurosky_pipeline.settings import load_settings

FIRST_LOOK = timedelta(days=1)
OVERLAP = timedelta(minutes=1)
"""What was written at one moment may be seen after what was written later."""
_CLOCK = timedelta(seconds=1)
"""Dagster's storage may keep the moment at which a run was created to the second only."""
_MAX_RUNS = 200
_MAX_TEXT = 500
_INTERRUPTED = "DagsterExecutionInterruptedError"
_OWN = "SettingsError"
"""The one error of ours that comes before a run's first step; its text is for people, without values."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What Dagster has kept of a run's end.

    Attributes:
        is_told: a step ended with a code of ours: it has told the registry, or had nothing to tell.
        is_interrupted: its process was asked to end, and not by a person who cancelled the run.
        text: for people; nothing of what libraries say.
    """

    is_told: bool
    is_interrupted: bool
    text: str


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Marks migrations failed whose runs failed without a word to the registry, or came to nothing "
    f"{starts.MAX_STARTS_IN_VAIN} times before their first step. Asks again for what a stop has broken off.",
)
def migration_failed(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick. In a pause it asks for nothing, and looks at the same runs again when that is over."""
    now = datetime.now(UTC)
    since = _moment(context.cursor) or now - FIRST_LOOK
    filters = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since - OVERLAP)
    records = context.instance.get_run_records(filters, limit=_MAX_RUNS, order_by="update_timestamp", ascending=True)
    newest = {
        token: record for record in records if is_token(token := record.dagster_run.tags.get(PARTITION_NAME_TAG, ""))
    }
    told: list[str] = []
    again: list[RunRequest] = []
    pause = None
    if newest:
        watch = open_watch(load_settings())
        try:
            pause = watch.paused()
            migrations = watch.by_token(newest)
            begun = watch.begun([record.dagster_run.run_id for record in newest.values()])
            for token, record in newest.items():
                migration, attempt = migrations.get(token), begun.get(record.dagster_run.run_id)
                if migration is None or migration.state not in {*STARTABLE, State.PENDING_PREFS}:
                    continue
                if starts.is_under_way(context.instance, token):
                    continue
                if migration.state is State.PENDING_PREFS:
                    request = _broken_off(context.instance, migration, record, is_begun=attempt is not None)
                    again += [request] if request else []
                    line = None
                elif attempt is None:
                    line = _in_vain(context.instance, watch, migration, record, now)
                else:
                    line = _begun(context.instance, watch, migration, record, attempt, now)
                if line:
                    context.log.info(f"[{token}] {line}")
                    told.append(token)
        finally:
            watch.close()
    if again and pause:
        return SkipReason(f"nothing is started: {pause}")
    if records:
        last = records[-1].update_timestamp.replace(tzinfo=UTC)
        is_full = len(records) == _MAX_RUNS  # or the next tick would see the same
        context.update_cursor(max(since, last + OVERLAP if is_full else last).isoformat())
    if again:
        context.log.info(f"runs of finished migrations that a stop has broken off, asked for again: {len(again)}")
        return SensorResult(run_requests=again)
    return SkipReason(f"{len(told)} migrations were told of their run's failure ({len(records)} runs looked at)")


def _broken_off(
    instance: DagsterInstance, migration: Migration, record: RunRecord, *, is_begun: bool
) -> RunRequest | None:
    """The same once more, where this is the last run of a finished migration, part of a backfill, and interrupted.

    A finished migration needs no run, so that none is wanted by the registry: it is the backfill that does.
    """
    run = record.dagster_run
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    if backfill_id is None or (is_begun and migration.lease_holder != run.run_id):
        return None
    backfill = instance.get_backfill(backfill_id)
    if backfill is not None and backfill.status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED):
        return None
    if not _failure(instance, run.run_id).is_interrupted:
        return None
    kept = {tag: run.tags[tag] for tag in (BACKFILL_ID_TAG, LANE_TAG) if tag in run.tags}
    request = starts.request(migration, f"again/{run.run_id}", kept)
    return request.with_replaced_attrs(asset_selection=sorted(run.asset_selection or ()) or None)


def _is_of_older_wish(migration: Migration, record: RunRecord) -> bool:
    """It was brought back after this run was asked for: what the run failed of is over."""
    wanted_at = migration.start_wanted_at
    answered = record.dagster_run.tags.get(WANTED_AT_TAG)
    if wanted_at is None or answered is not None:
        return wanted_at is not None and answered != wanted_at.isoformat()
    return wanted_at > _created_at(record)


def _in_vain(
    instance: DagsterInstance, watch: Watch, migration: Migration, record: RunRecord, now: datetime
) -> str | None:
    """The run has not come to its first step; the last ones of the same wish neither."""
    if _is_of_older_wish(migration, record):
        return None
    token, run_id = migration.token, record.dagster_run.run_id
    wanted_at = migration.start_wanted_at or migration.created_at
    of_wish = RunsFilter(tags={PARTITION_NAME_TAG: token}, created_after=wanted_at - _CLOCK)
    recent = instance.get_run_records(of_wish, limit=starts.MAX_STARTS_IN_VAIN)
    begun = watch.begun([each.dagster_run.run_id for each in recent])
    failed = [each for each in recent if each.dagster_run.status is DagsterRunStatus.FAILURE]
    if begun or len(failed) < starts.MAX_STARTS_IN_VAIN:
        return None
    what = f"{starts.MAX_STARTS_IN_VAIN} runs have ended before their first step: {_failure(instance, run_id).text}"
    return _fail(watch, token, what, run_id, now, unless_wanted_after=_created_at(record))


def _begun(
    instance: DagsterInstance,
    watch: Watch,
    migration: Migration,
    record: RunRecord,
    attempt: tuple[datetime | None, str | None],
    now: datetime,
) -> str | None:
    """The run has worked on the migration. One whose attempt has not ended is for `stuck_migrations`."""
    ended_at, error_code = attempt
    token, run_id = migration.token, record.dagster_run.run_id
    is_told = error_code not in (None, STOPPED_BEFORE_END.code)
    if ended_at is None or is_told or migration.lease_holder != run_id:
        return None
    if migration.start_wanted_at is not None:  # it was none any more when the run began: somebody has brought it back
        return None
    failure = _failure(instance, run_id)
    if failure.is_interrupted:
        return "was interrupted, and goes on" if watch.want_start(token, run_id, now) else None
    if failure.is_told:
        return None
    return _fail(watch, token, failure.text, run_id, now, unless_wanted_after=ended_at)


def _fail(
    watch: Watch, token: str, what: str, run_id: str, now: datetime, *, unless_wanted_after: datetime
) -> str | None:
    error = FatalError(
        what,
        code="run_failed",
        hint=f"see the log of run {run_id}, then `eurosky migrations retry {token}`",
    )
    is_failed = watch.fail(token, error, now, unless_wanted_after=unless_wanted_after)
    return f"is failed: {error.with_hint()}" if is_failed else None


def _created_at(record: RunRecord) -> datetime:
    """Or a second later."""
    return record.create_timestamp.replace(tzinfo=UTC) + _CLOCK


def _failure(instance: DagsterInstance, run_id: str) -> Failure:
    """What the run's events say."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    is_told, errors = False, list[SerializableErrorInfo]()
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            data = event.step_failure_data
            is_told |= data.user_failure_data is not None and "error_code" in data.user_failure_data.metadata
            error = data.error
        else:
            error = event.job_failure_data.error
        if error is not None:
            errors.append(error)
    return Failure(is_told, any(_root(error).cls_name == _INTERRUPTED for error in errors), _text(errors))


def _text(errors: list[SerializableErrorInfo]) -> str:
    """By its kind only: what an error says may hold a secret, unless it is one of ours."""
    roots = [_root(error) for error in errors]
    for root in roots:
        if root.cls_name == _OWN:
            return root.message.partition(": ")[2].strip()[:_MAX_TEXT]
    names = [root.cls_name for root in roots if root.cls_name]
    return f"the run ended with an unexpected {names[0][:100]}" if names else "the run ended without saying why"


def _root(error: SerializableErrorInfo) -> SerializableErrorInfo:
    while error.cause is not None:
        error = error.cause
    return error


def _moment(cursor: str | None) -> datetime | None:
    """Up to where the ticks before have looked; None where there was none, or a person has edited it in the UI."""
    try:
        moment = datetime.fromisoformat(cursor or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
