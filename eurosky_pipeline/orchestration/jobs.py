"""The job: one run moves one account, all six assets in one process (a spawn per step would cost 5 s each)."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from eurosky_pipeline.orchestration.assets import ALL_ASSETS

migrate_account = define_asset_job(
    name="migrate_account",
    selection=AssetSelection.assets(*ALL_ASSETS),
    executor_def=in_process_executor,
    description="Move one account: export, import, blobs, and proof that nothing was lost.",
)
