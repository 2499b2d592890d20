"""`new_migrations`: what the intake has is registered, and a run asked for of whatever wants to be started."""

import json
from collections.abc import Mapping

from dagster import (
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from eurosky_pipeline.orchestration.intake_tick import poll_intake
from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.sensors import starts
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.settings import load_settings

WANTED_AT_TAG = "eurosky/wanted_at"
"""Of a run that this sensor has asked for: when its migration was registered or brought back."""


@sensor(
    job=migrate_account,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Registers what the intake sources have, and asks for a run of every migration that was registered or "
    "brought back.",
)
def new_migrations(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick.

    A run's key is the token, the moment of the wish that it answers, and how many runs of that wish have ended before
    they began: a tick that is made again asks for nothing new. Where somebody has cancelled the run of a wish, the wish
    is none any more.
    """
    settings = load_settings()
    found: dict[str, starts.Before] = {}
    stopped: list[Migration] = []

    def can_start(migration: Migration) -> bool:
        before = starts.before(context.instance, migration.token, {WANTED_AT_TAG: _wanted_at(migration)})
        found[migration.token] = before
        if before.is_stopped:
            stopped.append(migration)
        return before.can_start

    registry = open_registry(settings)
    try:
        pause = registry.paused()
        if pause is not None:
            return SkipReason(f"nothing is started: {pause}")
        polled = poll_intake(
            settings,
            registry,
            limit=starts.room(context.instance),
            cursors=_cursors(context.cursor),
            can_start=can_start,
        )
        for migration in stopped:
            if migration.start_wanted_at is not None:
                registry.watch.drop_wish(migration.token, migration.start_wanted_at)
            context.log.info(
                f"[{migration.token}] its run was cancelled by a person: `migrations retry` brings it back"
            )
    finally:
        registry.close()
    context.update_cursor(json.dumps(polled.cursors))
    for line in polled.told:
        context.log.info(line)
    told = f"{polled.added} registered, {polled.rejected} rejected" if polled.added or polled.rejected else ""
    faults = "; ".join(polled.faults)
    if not polled.starts:
        under_way = sum(before.is_under_way for before in found.values())
        in_vain = sum(before.ended >= starts.MAX_STARTS_IN_VAIN for before in found.values())
        waiting = f"{under_way} have a run under way, {in_vain} were started in vain" if under_way or in_vain else ""
        return SkipReason("; ".join(filter(None, ["no migration to start", waiting, told, faults])))
    context.log.info("; ".join(filter(None, [f"{len(polled.starts)} migrations are started", told])))
    return SensorResult(
        dynamic_partitions_requests=[MIGRATIONS.build_add_request(list(polled.tokens))],
        run_requests=[
            starts.request(
                migration,
                f"{_wanted_at(migration)}/{found[migration.token].ended}",
                {WANTED_AT_TAG: _wanted_at(migration)},
            )
            for migration in polled.starts
        ],
    )


def _wanted_at(migration: Migration) -> str:
    return (migration.start_wanted_at or migration.created_at).isoformat()


def _cursors(cursor: str | None) -> Mapping[str, str]:
    """What the tick before has left, a text for each source; nothing where a person has edited it in the UI."""
    try:
        cursors = json.loads(cursor or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(cursors, dict):
        return {}
    return {name: text for name, text in cursors.items() if isinstance(text, str)}
