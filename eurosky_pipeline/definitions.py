"""What Dagster loads: `defs`, and `build_defs` to make it with other parts."""

from typing import Any

from dagster import Definitions, in_process_executor

from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.orchestration.jobs import migrate_account
from eurosky_pipeline.orchestration.resources import default_resources
from eurosky_pipeline.orchestration.sensors import new_migrations


def build_defs(**overrides: Any) -> Definitions:
    """The pipeline's definitions; each keyword replaces the resource of that name (a test's, or a progress bar)."""
    return Definitions(
        assets=ALL_ASSETS,
        jobs=[migrate_account],
        sensors=[new_migrations],
        resources={**default_resources(), **overrides},
        executor=in_process_executor,
    )


defs = build_defs()
