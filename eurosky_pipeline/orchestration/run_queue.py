"""Dagster's queue of runs, for who stops things: what has not begun yet is not begun, and what is still under way."""

import time
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from eurosky_pipeline.orchestration.lanes import LaneCoordinator
from eurosky_pipeline.orchestration.workers import is_gone

CANCELLED_BEFORE = "its migration was cancelled before the run began"
NOT_BEGUN = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED]
DAEMON_SILENCE_S = 120.0
"""The daemon says every half minute that it lives: after so long without a word it is taken for gone."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A run that has been launched and has not ended. `token` is empty where it is of no migration."""

    run_id: str
    job: str
    token: str

    def __str__(self) -> str:
        return self.token or f"{self.job} ({self.run_id})"


def take_out_of_queue(instance: DagsterInstance, token: str, why: str = CANCELLED_BEFORE) -> list[str]:
    """Cancel the runs of this migration that wait for their turn, each with the reason; their ids.

    One that Dagster begins at this very moment finds the migration cancelled, or held by another run, and ends.
    """
    runs = instance.get_runs(RunsFilter(tags={PARTITION_NAME_TAG: token}, statuses=NOT_BEGUN))
    for run in runs:
        instance.report_run_canceled(run, message=why)
    return [run.run_id for run in runs]


def runs_under_way(instance: DagsterInstance) -> list[UnderWay]:
    """Those that work now, in the foreground too, the newest first; not those whose process is certainly gone."""
    runs = instance.get_runs(RunsFilter(statuses=ACTIVE_RUN_STATUSES))
    return [
        UnderWay(run.run_id, run.job_name, run.tags.get(PARTITION_NAME_TAG, ""))
        for run in runs
        if is_gone(run.tags) is not True
    ]


def count_queued(instance: DagsterInstance) -> int:
    """How many runs wait for their turn."""
    return instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))


def heeds_pause(instance: DagsterInstance) -> bool:
    """Whether this instance's queue asks for a pause: that of a `dagster.yaml` which a person has changed may not."""
    is_ours = isinstance(instance.run_coordinator, LaneCoordinator)
    return is_ours and "runs" not in (instance.get_settings("concurrency") or {})


def is_worked_on(instance: DagsterInstance) -> bool:
    """Whether a daemon takes runs out of the queue, or did until a moment ago."""
    heartbeat = instance.get_daemon_heartbeats().get(QueuedRunCoordinatorDaemon.daemon_type())
    return heartbeat is not None and time.time() - heartbeat.timestamp < DAEMON_SILENCE_S
