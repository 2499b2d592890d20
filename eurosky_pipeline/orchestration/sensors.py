"""What starts runs by itself."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.steps import queue_tags
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.queries import Place, Wanted, place_of
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

MAX_STARTS_PER_TICK = 50
MAX_LOOKED_AT_PER_TICK = 500
MAX_STARTS_IN_VAIN = 3
"""How many runs of a migration may end before their first step until it is left to a person."""
RESUME_AT_TAG = "eurosky/resume_at"
"""Of a run that `resume_waiting` has asked for: the end of the wait that it ends."""


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.STOPPED,
    description="Adds a partition, and asks for a run, for every migration that was registered and never worked on.",
)
def new_migrations(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    Off until a person switches it on: until then migrations start by `eurosky migrate` or by hand in the UI.
    However many there are, it looks at so many only; the next tick goes on behind them, and after the last begins anew.
    """
    wanted = Wanted(states=(State.PENDING_REPO,), is_untried=True, after=_place(context.cursor))
    registry = open_registry(load_settings())
    try:
        waiting = list(registry.each(wanted, MAX_LOOKED_AT_PER_TICK))
    finally:
        registry.close()
    starts: dict[str, int] = {}
    chosen: list[Migration] = []
    rest = iter(waiting)
    for migration in rest:
        before = _starts_before(context.instance, migration.token, {})
        if before is not None:
            starts[migration.token] = before
            chosen.append(migration)
        if len(chosen) == MAX_STARTS_PER_TICK:
            break
    is_at_the_end = next(rest, None) is None and len(waiting) < MAX_LOOKED_AT_PER_TICK
    last = chosen[-1] if len(chosen) == MAX_STARTS_PER_TICK else waiting[-1] if waiting else None
    context.update_cursor("" if is_at_the_end or last is None else _cursor(place_of(last)))
    if not chosen:
        return SkipReason(f"no new migration ({len(waiting)} have a run under way, or have been started in vain)")
    return SensorResult(
        dynamic_partitions_requests=[MIGRATIONS.build_add_request([migration.token for migration in chosen])],
        run_requests=[
            RunRequest(
                partition_key=migration.token,
                run_key=f"{migration.token}/{starts[migration.token]}",
                tags=queue_tags(migration),
            )
            for migration in chosen
        ],
    )


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.STOPPED,
    description="Asks for a run of every migration that waits for a host's rate limit, once it may go on.",
)
def resume_waiting(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    Off until a person switches it on: until then what waits goes on by `eurosky migrate` or by hand in the UI.
    """
    now = datetime.now(UTC)
    registry = open_registry(load_settings())
    try:
        due, earliest = registry.due(now), registry.earliest_resume()
    finally:
        registry.close()
    requests = list(islice(_resumptions(context.instance, due, now), MAX_STARTS_PER_TICK))
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
        starts = _starts_before(instance, migration.token, {RESUME_AT_TAG: resume_at})
        if starts is not None:
            yield RunRequest(
                partition_key=migration.token,
                run_key=f"{migration.token}/{resume_at}/{starts}",
                tags={**queue_tags(migration), RESUME_AT_TAG: resume_at},
            )


def _starts_before(instance: DagsterInstance, token: str, tags: Mapping[str, str]) -> int | None:
    """How many runs of this migration with these tags have ended; None if any run of it is under way, or if that is
    enough."""
    of_token = {PARTITION_NAME_TAG: token}
    if instance.get_runs_count(RunsFilter(tags=of_token, statuses=NOT_FINISHED_STATUSES)):
        return None
    starts = instance.get_runs_count(RunsFilter(tags={**of_token, **tags}))
    return starts if starts < MAX_STARTS_IN_VAIN else None


def _cursor(place: Place) -> str:
    return f"{place.created_at.isoformat()} {place.token}"


def _place(cursor: str | None) -> Place | None:
    """Where the tick before has ended; None to begin with the oldest."""
    created_at, _, token = (cursor or "").partition(" ")
    try:
        return Place(datetime.fromisoformat(created_at), token) if token else None
    except ValueError:  # it can be edited in the UI
        return None
