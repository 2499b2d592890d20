"""`new_migrations`: runs of what is wanted to start."""

from datetime import datetime

from dagster import (
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
from eurosky_pipeline.orchestration.steps import queue_tags
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.queries import Place, Wanted, place_of
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Adds a partition, and asks for a run, for every migration that was registered and never worked on.",
)
def new_migrations(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    However many there are, it looks at so many only; the next tick goes on behind them, and after the last begins anew.
    """
    wanted = Wanted(states=(State.PENDING_REPO,), is_untried=True, after=_place(context.cursor))
    registry = open_registry(load_settings())
    try:
        waiting = list(registry.each(wanted, starts.MAX_LOOKED_AT_PER_TICK))
    finally:
        registry.close()
    ended: dict[str, int] = {}
    chosen: list[Migration] = []
    rest = iter(waiting)
    for migration in rest:
        before = starts.starts_before(context.instance, migration.token, {})
        if before is not None:
            ended[migration.token] = before
            chosen.append(migration)
        if len(chosen) == starts.MAX_STARTS_PER_TICK:
            break
    is_at_the_end = next(rest, None) is None and len(waiting) < starts.MAX_LOOKED_AT_PER_TICK
    last = chosen[-1] if len(chosen) == starts.MAX_STARTS_PER_TICK else waiting[-1] if waiting else None
    context.update_cursor("" if is_at_the_end or last is None else _cursor(place_of(last)))
    if not chosen:
        return SkipReason(f"no new migration ({len(waiting)} have a run under way, or have been started in vain)")
    return SensorResult(
        dynamic_partitions_requests=[MIGRATIONS.build_add_request([migration.token for migration in chosen])],
        run_requests=[
            RunRequest(
                partition_key=migration.token,
                run_key=f"{migration.token}/{ended[migration.token]}",
                tags=queue_tags(migration),
            )
            for migration in chosen
        ],
    )


def _cursor(place: Place) -> str:
    return f"{place.created_at.isoformat()} {place.token}"


def _place(cursor: str | None) -> Place | None:
    """Where the tick before has ended; None to begin with the oldest."""
    created_at, _, token = (cursor or "").partition(" ")
    try:
        return Place(datetime.fromisoformat(created_at), token) if token else None
    except ValueError:  # it can be edited in the UI
        return None
