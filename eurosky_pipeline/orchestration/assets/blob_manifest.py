"""Every blob that has to move."""

from collections.abc import Iterator
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult

from eurosky_pipeline.artifacts.workspace import CONVERTED_CAR, MANIFEST_CSV
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.metadata import banner, table
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.transfer.manifest import ManifestTotals, write_manifest
from eurosky_pipeline.words import human_bytes
from eurosky_pipeline.xrpc.endpoints import list_blobs


@migration_asset(kinds={"csv"}, deps=[converted_car])
def blob_manifest(
    context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource, pds: PdsResource
) -> Iterator[MaterializeResult]:
    """A table of every blob that a record references or the source lists (`com.atproto.sync.listBlobs`, to the end)."""
    with migration_step(context, registry, workspace, is_preparing=True) as step:
        listed = list_blobs(pds.source(step), step.migration.did)
        totals = write_manifest(step.files.fetch(CONVERTED_CAR), listed, step.files.scratch(MANIFEST_CSV))
        kept = step.files.keep(MANIFEST_CSV)
        step.registry.record(step.token, {"blob_count": totals.blobs, "blobs_total": totals.blobs})
        yield MaterializeResult(metadata={**_metadata(step, totals), "path": kept.uri})


def _metadata(step: Step, totals: ManifestTotals) -> dict[str, Any]:
    mime_types = [(mime_type or "unknown", count) for mime_type, count in totals.mime_types]
    return {
        "summary": banner(f"**{totals.blobs:,} blobs**, {human_bytes(totals.claimed_bytes)} by what records say"),
        **table("mime_types", ["mime type", "blobs"], mime_types),
        "blobs": totals.blobs,
        "claimed_bytes": totals.claimed_bytes,
        "referenced": totals.referenced,
        "listed_by_source": totals.listed,
        "legacy": totals.legacy,
        "duration_s": step.duration_s,
    }
