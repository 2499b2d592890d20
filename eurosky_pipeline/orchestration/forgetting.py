"""What Dagster remembers of a migration: its runs carry the account's DID and handle in tags and logs."""

from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.settings import Settings

_PAGE_RUNS = 50


def forget_runs(settings: Settings, token: str) -> int:
    """Delete a migration's runs with their events and logs, and its partition. Returns how many runs there were.

    The caller sees to it that no run is at work. Raises SettingsError: the instance cannot be opened.
    """
    from dagster import RunsFilter
    from dagster._core.storage.tags import PARTITION_NAME_TAG

    prepare_instance(settings)
    runs = 0
    with open_instance() as instance:
        while found := instance.get_runs(RunsFilter(tags={PARTITION_NAME_TAG: token}), limit=_PAGE_RUNS):
            for run in found:
                instance.compute_log_manager.delete_logs(prefix=[run.run_id])
                instance.delete_run(run.run_id)
                runs += 1
        instance.delete_dynamic_partition(MIGRATIONS.name or "", token)
    return runs
