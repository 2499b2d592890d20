"""Starting runs from a tick: how many at a time, and never a second one of a migration beside the first."""

from collections.abc import Mapping

from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

MAX_STARTS_PER_TICK = 50
MAX_LOOKED_AT_PER_TICK = 500
MAX_STARTS_IN_VAIN = 3
"""How many runs of a migration may end before their first step until it is left to a person."""


def starts_before(instance: DagsterInstance, token: str, tags: Mapping[str, str]) -> int | None:
    """How many runs of this migration with these tags have ended; None if any run of it is under way, or if that is
    enough."""
    of_token = {PARTITION_NAME_TAG: token}
    if instance.get_runs_count(RunsFilter(tags=of_token, statuses=NOT_FINISHED_STATUSES)):
        return None
    starts = instance.get_runs_count(RunsFilter(tags={**of_token, **tags}))
    return starts if starts < MAX_STARTS_IN_VAIN else None
