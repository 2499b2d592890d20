"""Every blob that has to move."""

from dagster import AssetExecutionContext, MaterializeResult, asset

from eurosky_pipeline.artifacts.workspace import CONVERTED_CAR, MANIFEST_CSV
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.metadata import human_bytes, markdown, markdown_table
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import PdsResource, RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.transfer.manifest import build_manifest, write_manifest
from eurosky_pipeline.xrpc.endpoints import list_blobs


@asset(partitions_def=MIGRATIONS, group_name="migration", kinds={"pandas", "csv"}, deps=[converted_car])
def blob_manifest(
    context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource, pds: PdsResource
) -> MaterializeResult:
    """A table of every blob that a record references or the source lists (`com.atproto.sync.listBlobs`, to the end)."""
    with migration_step(context, registry.opened()) as step:
        migration, files = step.migration, workspace.of(step.token)
        listed = list_blobs(pds.source(migration, registry.opened()), migration.did)
        manifest = build_manifest(files.fetch(CONVERTED_CAR), listed)
        write_manifest(manifest, files.scratch(MANIFEST_CSV))
        kept = files.keep(MANIFEST_CSV)
        registry.opened().record(step.token, {"blob_count": len(manifest), "blobs_total": len(manifest)})
        claimed_bytes = int(manifest["size_bytes"].sum())
        mime_types = manifest["mime_type"].fillna("unknown").value_counts().to_dict()
        return MaterializeResult(
            metadata={
                "path": str(kept),
                "blobs": len(manifest),
                "claimed_bytes": claimed_bytes,
                "referenced": int(manifest["is_referenced"].sum()),
                "listed_by_source": int(manifest["is_listed"].sum()),
                "legacy": int(manifest["is_legacy"].sum()),
                "duration_s": step.duration_s,
                "summary": markdown(
                    f"**{len(manifest):,} blobs**, {human_bytes(claimed_bytes)} by what records say",
                    markdown_table(["mime type", "blobs"], mime_types.items()),
                ),
            }
        )
