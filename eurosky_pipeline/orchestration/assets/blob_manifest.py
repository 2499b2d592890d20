"""Every blob that has to move."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, MaterializeResult

from eurosky_pipeline.artifacts.workspace import CONVERTED_CAR, MANIFEST_CSV
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.metadata import human_bytes, markdown, markdown_table
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.transfer.manifest import build_manifest, write_manifest
from eurosky_pipeline.xrpc.endpoints import list_blobs

if TYPE_CHECKING:
    import pandas as pd


@migration_asset(kinds={"pandas", "csv"}, deps=[converted_car])
def blob_manifest(
    context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource, pds: PdsResource
) -> Iterator[MaterializeResult]:
    """A table of every blob that a record references or the source lists (`com.atproto.sync.listBlobs`, to the end)."""
    with migration_step(context, registry, workspace) as step:
        listed = list_blobs(pds.source(step), step.migration.did)
        manifest = build_manifest(step.files.fetch(CONVERTED_CAR), listed)
        write_manifest(manifest, step.files.scratch(MANIFEST_CSV))
        path = step.files.keep(MANIFEST_CSV)
        step.registry.record(step.token, {"blob_count": len(manifest), "blobs_total": len(manifest)})
        yield MaterializeResult(metadata={**_metadata(step, manifest), "path": str(path)})


def _metadata(step: Step, manifest: "pd.DataFrame") -> dict[str, Any]:
    claimed_bytes = int(manifest["size_bytes"].sum())
    mime_types = manifest["mime_type"].fillna("unknown").value_counts().to_dict()
    return {
        "summary": markdown(
            f"**{len(manifest):,} blobs**, {human_bytes(claimed_bytes)} by what records say",
            markdown_table(["mime type", "blobs"], mime_types.items()),
        ),
        "blobs": len(manifest),
        "claimed_bytes": claimed_bytes,
        "referenced": int(manifest["is_referenced"].sum()),
        "listed_by_source": int(manifest["is_listed"].sum()),
        "legacy": int(manifest["is_legacy"].sum()),
        "duration_s": step.duration_s,
    }
