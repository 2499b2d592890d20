"""Who starts when: two lanes of runs, each with a ceiling of its own, and the pause, in which neither starts any.

The lane is a tag, `eurosky/lane`. Runs in the lane `bulk` share one ceiling; what is `critical` does not count in it
and does not wait behind it. Dagster's one number for all runs could not tell them apart, so that it is left at none,
and the ceilings are limits of tags. Whoever queues a run gets here the tags that it lacks: the UI and backfills know
none.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from dagster import DagsterRun, DagsterRunStatus, Field, IntSource, QueuedRunCoordinator, RunsFilter
from dagster._config.config_schema import UserConfigSchema
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG, PRIORITY_TAG
from dagster._serdes import ConfigurableClassData
from sqlalchemy.exc import SQLAlchemyError

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.registry.controls import Controls, Hosts, open_controls
from eurosky_pipeline.registry.pause import Pause
from eurosky_pipeline.settings import load_settings

LANE_TAG = "eurosky/lane"
BULK, CRITICAL = "bulk", "critical"
SOURCE_TAG, DESTINATION_TAG = "eurosky/source_pds", "eurosky/destination_pds"
BULK_DESTINATION_TAG = "eurosky/bulk_destination"
"""The destination, on bulk runs alone: what is limited by it cannot hold up a critical run to the same host."""
CRITICAL_PRIORITY = "100"
"""Dagster begins runs with a higher number first; without one they have 0."""
NONE = -1


class LaneCoordinator(QueuedRunCoordinator):
    """Stands in `dagster.yaml`, which tells what its numbers mean. It queues runs; Dagster's daemon asks it, in each of
    its rounds, how many may be under way, and launches them."""

    def __init__(
        self,
        *,
        max_concurrent_critical_runs: int = NONE,
        max_concurrent_runs_per_destination: int = NONE,
        **queue: Any,
    ) -> None:
        super().__init__(**queue)
        self._limits = [
            *tag_limits(self._max_concurrent_runs, max_concurrent_critical_runs, max_concurrent_runs_per_destination),
            *self._tag_concurrency_limits,
        ]
        self._is_of_daemon = False
        self._heeded: Pause | None = None
        self._controls: Controls | None = None
        self._opening = threading.Lock()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Dagster's own fields, and the two further numbers."""
        number = Field(IntSource, is_required=False, default_value=NONE)
        return {
            **QueuedRunCoordinator.config_type(),  # type: ignore[dict-item]
            "max_concurrent_critical_runs": number,
            "max_concurrent_runs_per_destination": number,
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    @property
    def dequeue_interval_seconds(self) -> int:
        """Asked once, by the process whose daemon launches what is queued: from then on this one looks for a pause."""
        self._is_of_daemon = True
        return super().dequeue_interval_seconds

    def get_run_queue_config(self) -> RunQueueConfig:
        """How many may be under way now. Each run asks too, for what Dagster's pools are, and needs no database for it.

        Raises: whatever keeps the daemon from finding out whether there is a pause: nothing is launched blindly, and
            the daemon asks again in its next round.
        """
        total = self._total() if self._is_of_daemon else NONE
        config = super().get_run_queue_config()
        return config._replace(max_concurrent_runs=total, tag_concurrency_limits=self._limits)

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue a run, with the tags by which its turn is decided."""
        run = context.dagster_run
        tags = missing_tags(run.run_id, run.tags, self._hosts_of)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    def dispose(self) -> None:
        if self._controls is not None:
            self._controls.close()
        super().dispose()

    def _total(self) -> int:
        """How many runs of both lanes may be under way."""
        if self._pause() is not None:
            return 0
        return self._max_concurrent_runs if self._is_all_waiting_for_bulk() else NONE

    def _pause(self) -> Pause | None:
        """The pause that there is; one that is new is told to who waits for the daemon to heed it."""
        controls = self._opened()
        pause = controls.paused()
        if pause != self._heeded:
            if pause is not None:
                controls.see(pause)
            self._logger.info(f"{pause}: no run is launched" if pause else "the pause is over: runs are launched again")
            self._heeded = pause
        return pause

    def _is_all_waiting_for_bulk(self) -> bool:
        """Whether bulk has reached its ceiling and nothing else is queued. Told so by its one number for all, the
        daemon does not read the whole queue, of a thousand runs in a backfill, to find that none may begin."""
        if self._max_concurrent_runs == NONE:
            return False
        under_way = RunsFilter(statuses=ACTIVE_RUN_STATUSES, tags={LANE_TAG: BULK})
        if self._instance.get_runs_count(under_way) < self._max_concurrent_runs:
            return False
        queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED], tags={LANE_TAG: CRITICAL})
        return self._instance.get_runs_count(queued) == 0

    def _hosts_of(self, token: str) -> Hosts | None:
        """None where the registry knows no such migration, or cannot be asked: the run is queued all the same."""
        try:
            return self._opened().hosts_of(token)
        except (EuroskyError, SQLAlchemyError) as error:
            self._logger.warning(f"[{token}] its hosts cannot be found out: {type(error).__name__}")
            return None

    def _opened(self) -> Controls:
        with self._opening:
            if self._controls is None:
                self._controls = open_controls(load_settings())
            return self._controls


def tag_limits(bulk: int, critical: int, per_destination: int) -> list[dict[str, Any]]:
    """Dagster's `tag_concurrency_limits` for these ceilings; what is `NONE` has no entry, as it would mean: not one.

    Raises: ValueError for a number below that.
    """
    if min(bulk, critical, per_destination) < NONE:
        raise ValueError(f"a ceiling of runs is a number from 0 on, or {NONE} for none")
    limits: list[tuple[dict[str, Any], int]] = [
        ({"key": LANE_TAG, "value": BULK}, bulk),
        ({"key": LANE_TAG, "value": CRITICAL}, critical),
        ({"key": BULK_DESTINATION_TAG, "value": {"applyLimitPerUniqueValue": True}}, per_destination),
    ]
    return [{**which, "limit": number} for which, number in limits if number != NONE]


def missing_tags(run_id: str, tags: Mapping[str, str], hosts_of: Callable[[str], Hosts | None]) -> dict[str, str]:
    """What a run lacks of the tags that decide when it begins, or has wrong.

    Any lane but `critical` is `bulk`: a misspelt one must not run past the ceiling. A run that was made of an earlier
    one brings that one's tags along, whichever lane it is in now.
    """
    is_critical = tags.get(LANE_TAG) == CRITICAL
    wanted = {LANE_TAG: CRITICAL if is_critical else BULK}
    source, destination = tags.get(SOURCE_TAG), tags.get(DESTINATION_TAG)
    token = tags.get(PARTITION_NAME_TAG)
    if token and not (source and destination):
        hosts = hosts_of(token)
        if hosts is not None:
            source, destination = hosts.source_pds, hosts.destination_pds
            wanted |= {SOURCE_TAG: source, DESTINATION_TAG: destination}
    if is_critical:
        wanted[PRIORITY_TAG] = tags.get(PRIORITY_TAG) or CRITICAL_PRIORITY
        if BULK_DESTINATION_TAG in tags:
            wanted[BULK_DESTINATION_TAG] = run_id  # tags cannot be taken away; nobody else has this one
    elif destination:
        wanted[BULK_DESTINATION_TAG] = destination
    return {name: value for name, value in wanted.items() if tags.get(name) != value}
