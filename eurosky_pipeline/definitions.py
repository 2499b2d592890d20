"""What Dagster loads: `defs`, and `build_defs` to make it with other parts."""

from typing import Any

from dagster import Definitions, in_process_executor

from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.schedules import ALL_PURGE_JOBS
from eurosky_pipeline.orchestration.switches import build_schedules, build_sensors
from eurosky_pipeline.transfer.progress import SilentProgress


def build_defs(**overrides: Any) -> Definitions:
    """The pipeline's definitions; each keyword replaces the resource of that name (a test's, or a progress bar)."""
    resources = {
        "registry": RegistryResource(),
        "workspace": WorkspaceResource(),
        "pds": PdsResource(),
        "blob_transfer": BlobTransferResource(),
        "progress": SilentProgress(),
    }
    return Definitions(
        assets=ALL_ASSETS,
        jobs=[migrate_account, *ALL_PURGE_JOBS],
        schedules=build_schedules(),
        sensors=build_sensors(),
        resources={**resources, **overrides},
        executor=in_process_executor,
    )


defs = build_defs()
