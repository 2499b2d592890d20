"""Dagster's queue of runs, for who gives a migration up: what has not begun yet is not begun."""

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import PARTITION_NAME_TAG

NOT_BEGUN = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED]


def take_out_of_queue(instance: DagsterInstance, token: str) -> list[str]:
    """Cancel the runs of this migration that wait for their turn; their ids.

    One that Dagster begins at this very moment finds the migration cancelled, and ends.
    """
    runs = instance.get_runs(RunsFilter(tags={PARTITION_NAME_TAG: token}, statuses=NOT_BEGUN))
    for run in runs:
        instance.report_run_canceled(run, message="its migration was cancelled before the run began")
    return [run.run_id for run in runs]
