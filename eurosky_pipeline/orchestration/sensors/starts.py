"""Starting runs from a tick: so many at a time, and never a second one of a migration beside the first.

A tick may be made twice, and two daemons may make it at once: what Dagster has of a key it looks up before it creates a
run, so that both can find nothing. Each request therefore names the attempt that its run shall be; the registry lets
one run begin it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRunStatus, RunRequest, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from eurosky_pipeline.orchestration.steps import ATTEMPT_TAG, queue_tags
from eurosky_pipeline.orchestration.workers import is_gone
from eurosky_pipeline.registry.migration import Migration

MAX_STARTS_PER_TICK = 50
MAX_LOOKED_AT_PER_TICK = 500
MAX_QUEUED = 100
"""Dagster's queue reads all that wait, every few seconds: what is asked for later costs nothing until then."""
MAX_STARTS_IN_VAIN = 3
"""How many runs of a migration may end before their first step until it is left to a person."""
_LANE = {"eurosky/lane": "bulk"}
_WITH_WORKER = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
_MAX_RUNS = 20


@dataclass(frozen=True, slots=True)
class Before:
    """What has become of the runs that were asked for before.

    Attributes:
        is_under_way: one waits for its turn, or runs.
        ended: how many have ended.
        is_stopped: the last one was cancelled by a person.
    """

    is_under_way: bool
    ended: int
    is_stopped: bool

    @property
    def can_start(self) -> bool:
        return not self.is_under_way and not self.is_stopped and self.ended < MAX_STARTS_IN_VAIN


def room(instance: DagsterInstance) -> int:
    """How many runs a tick may ask for."""
    queued = instance.get_runs_count(RunsFilter(tags=_LANE, statuses=[DagsterRunStatus.QUEUED]))
    return max(0, min(MAX_STARTS_PER_TICK, MAX_QUEUED - queued))


def before(instance: DagsterInstance, token: str, tags: Mapping[str, str]) -> Before:
    """Of the runs of this migration: whether any is under way, and of those with these tags, how they have ended."""
    if is_under_way(instance, token):
        return Before(is_under_way=True, ended=0, is_stopped=False)
    asked_for = instance.get_runs(RunsFilter(tags={PARTITION_NAME_TAG: token, **tags}), limit=MAX_STARTS_IN_VAIN)
    is_stopped = bool(asked_for) and asked_for[0].status is DagsterRunStatus.CANCELED
    return Before(is_under_way=False, ended=len(asked_for), is_stopped=is_stopped)


def is_under_way(instance: DagsterInstance, token: str) -> bool:
    """Whether a run of it waits for its turn or runs; one whose process is gone does not, whatever Dagster says."""
    filters = RunsFilter(tags={PARTITION_NAME_TAG: token}, statuses=NOT_FINISHED_STATUSES)
    runs = instance.get_runs(filters, limit=_MAX_RUNS)
    return any(run.status not in _WITH_WORKER or not is_gone(run.tags) for run in runs)


def request(migration: Migration, key: str, tags: Mapping[str, str]) -> RunRequest:
    """A run that is the migration's next attempt, or nothing."""
    attempt = {ATTEMPT_TAG: str(migration.attempts + 1)}
    return RunRequest(
        partition_key=migration.token,
        run_key=f"{migration.token}/{key}",
        tags={**queue_tags(migration), **attempt, **tags},
    )
