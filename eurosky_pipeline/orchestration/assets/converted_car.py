"""The repository as it will be imported."""

from dagster import AssetExecutionContext, MaterializeResult, asset

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR
from eurosky_pipeline.convert.pass_on import pass_on
from eurosky_pipeline.orchestration.assets.exported_car import exported_car
from eurosky_pipeline.orchestration.metadata import human_bytes, markdown
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.settings import load_settings


@asset(partitions_def=MIGRATIONS, group_name="migration", kinds={"atproto", "car"}, deps=[exported_car])
def converted_car(
    context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource
) -> MaterializeResult:
    """The exported repository, passed on byte for byte, signature and all, with its legacy blob references counted.

    Legacy references (`{cid, mimeType}`, from before 2023) are moved as they are; the reference PDS imports them.
    """
    with migration_step(context, registry, workspace) as step:
        converted = pass_on(step.files.fetch(ACCOUNT_CAR), step.files.scratch(CONVERTED_CAR))
        path = step.files.keep(CONVERTED_CAR)
        step.registry.record(step.token, {"legacy_blobs_converted": False, "converted_car_path": str(path)})
        banner = _banner(step.migration, converted.summary.legacy_blob_refs)
        if converted.summary.legacy_blob_refs:
            context.log.warning(f"[{step.token}] {banner}")
        return MaterializeResult(
            metadata={
                "summary": markdown(f"Passed on unchanged, {human_bytes(converted.size_bytes)}. {banner}"),
                "legacy_blob_refs": converted.summary.legacy_blob_refs,
                "current_blob_refs": converted.summary.current_blob_refs,
                "size_bytes": converted.size_bytes,
                "root": str(converted.summary.root),
                "duration_s": step.duration_s,
                "path": str(path),
            }
        )


def _banner(migration: Migration, legacy: int) -> str:
    if not legacy:
        return "It holds no legacy blob references."
    wanted = migration.convert_legacy_blobs
    is_wanted = load_settings().is_legacy_conversion_enabled if wanted is None else wanted
    asked = " Their conversion was asked for, and is not available in this version." if is_wanted else ""
    return f"It holds {legacy} legacy blob references, which are moved as they are.{asked}"
