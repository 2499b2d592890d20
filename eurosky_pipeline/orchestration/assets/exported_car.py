"""The source's repository, on disk and verified."""

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam, asset

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR
from eurosky_pipeline.errors import TransientError
from eurosky_pipeline.orchestration.checks import REPO_IS_WHOLE, repo_is_whole
from eurosky_pipeline.orchestration.metadata import human_bytes, markdown, markdown_table
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import PdsResource, RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.export_repo import export_repo
from eurosky_pipeline.transfer.progress import ProgressSink


@asset(partitions_def=MIGRATIONS, group_name="migration", kinds={"atproto", "car"}, check_specs=[REPO_IS_WHOLE])
def exported_car(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    progress: ResourceParam[ProgressSink],
) -> MaterializeResult:
    """The account's whole repository, streamed from the source by `com.atproto.sync.getRepo`.

    Every block is hashed against its CID, the tree is walked, every record decoded, and the commit must be of the
    migration's DID; only then does the file get its name.
    """
    with migration_step(context, registry.opened()) as step:
        migration, files = step.migration, workspace.of(step.token)
        files.clear_leftovers()
        warning = _identity_warning(pds, migration)
        if warning:
            context.log.warning(f"[{step.token}] {warning}")
        progress.begin("exported_car", None, "B")
        exported = export_repo(
            pds.source(migration, registry.opened()),
            migration.did,
            files.scratch(ACCOUNT_CAR),
            max_bytes=load_settings().max_repo_bytes,
            stop=step.stop,
            on_bytes=lambda count: progress.advance("exported_car", count),
        )
        kept = files.keep(ACCOUNT_CAR)
        summary = exported.summary
        progress.end("exported_car", f"{summary.records:,} records, {human_bytes(exported.size_bytes)}")
        return MaterializeResult(
            metadata={
                "path": str(kept),
                "size_bytes": exported.size_bytes,
                "sha256": exported.sha256,
                "root": str(summary.root),
                "rev": summary.rev,
                "records": summary.records,
                "blocks": summary.blocks,
                "orphan_blocks": summary.orphan_blocks,
                "duplicate_blocks": summary.duplicate_blocks,
                "blobs_referenced": summary.distinct_blobs,
                "duration_s": step.duration_s,
                "summary": markdown(
                    f"**{summary.records:,} records** in {human_bytes(exported.size_bytes)} from "
                    + migration.source_pds,
                    markdown_table(["collection", "records"], summary.records_by_collection.items()),
                    f"⚠ {warning}" if warning else "",
                ),
            },
            check_results=[repo_is_whole(summary)],
        )


def _identity_warning(pds: PdsResource, migration: Migration) -> str:
    """What the DID document says against the hosts that were given; those are used all the same."""
    try:
        document = pds.did_document(migration)
    except TransientError as error:
        return f"the DID document could not be read, so the source was not compared with it: {error.message}"
    if document.pds_url is None:
        return "the DID document names no server"
    if document.pds_url != migration.source_pds:
        return f"the DID document names {document.pds_url}, and not the source given, {migration.source_pds}"
    return ""
