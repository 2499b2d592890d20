"""The verdict: every blob, named."""

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, ResourceParam, asset

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, MANIFEST_CSV, REPORT_CSV
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.orchestration.assets.transferred_blobs import transferred_blobs
from eurosky_pipeline.orchestration.checks import EVERY_BLOB_ARRIVED, every_blob_arrived
from eurosky_pipeline.orchestration.metadata import markdown, markdown_table
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import (
    BlobTransferResource,
    PdsResource,
    RegistryResource,
    WorkspaceResource,
)
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.reconcile.reconcile import NAMES_SHOWN, Reconciliation, Verdict, reconcile, write_report
from eurosky_pipeline.reconcile.source_moved import describe_source_move
from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.transfer.blobs import utc_now
from eurosky_pipeline.transfer.manifest import manifest_rows, read_manifest
from eurosky_pipeline.transfer.progress import ProgressSink


@asset(
    partitions_def=MIGRATIONS,
    group_name="migration",
    kinds={"pandas", "csv"},
    deps=[transferred_blobs],
    check_specs=[EVERY_BLOB_ARRIVED],
)
def reconciliation_report(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    blob_transfer: BlobTransferResource,
    progress: ResourceParam[ProgressSink],
) -> MaterializeResult:
    """What the destination still misses (`com.atproto.repo.listMissingBlobs`), tried once more; then every blob named.

    Best effort: blobs that nobody has any more do not keep the account from moving, and are listed with the reason.
    """
    with migration_step(context, registry.opened()) as step:
        store, files, migration = registry.opened(), workspace.of(step.token), step.migration
        source, destination = pds.source(migration, store), pds.destination(migration, store)
        manifest = list(manifest_rows(read_manifest(files.fetch(MANIFEST_CSV))))
        progress.begin("reconciliation_report", None, "blobs")

        def copy_again(cids: list[Cid]) -> list[BlobOutcome]:
            context.log.info(f"[{step.token}] the destination misses {len(cids)} blobs; each is tried once more")
            blob_transfer.run(
                cids, source, destination, migration=migration, registry=store, workspace=files, stop=step.stop
            )
            wanted = set(cids)
            return [outcome for outcome in store.outcomes(step.token) if outcome.blob_cid in wanted]

        result = reconcile(destination, manifest, store.outcomes(step.token), copy_again)
        write_report(result, files.scratch(REPORT_CSV))
        kept = files.keep(REPORT_CSV)
        moved = describe_source_move(source, migration.did, files.fetch(ACCOUNT_CAR))
        finished = {**result.as_progress(), "blobs_completed_at": utc_now()}
        if migration.state is State.PENDING_BLOBS:
            store.transition(step.token, State.PENDING_BLOBS, State.PENDING_PREFS, finished)
        else:
            store.record(step.token, finished)
        matched = result.count(Verdict.MATCHED)
        progress.end("reconciliation_report", f"{matched:,} of {len(result.verdicts):,} blobs matched")
        return MaterializeResult(
            metadata={"path": str(kept), **_metadata(step, result, moved)}, check_results=[every_blob_arrived(result)]
        )


def _metadata(step: Step, result: Reconciliation, moved: str) -> dict[str, MetadataValue | str | int | float]:
    others = [row for row in result.verdicts if row.verdict is not Verdict.MATCHED]
    named = [(row.blob_cid, row.verdict, row.reason, row.first_record) for row in others[:NAMES_SHOWN]]
    matched = result.count(Verdict.MATCHED)
    return {
        "status": str(result.status),
        "blobs": len(result.verdicts),
        "matched": matched,
        "missing_at_first": result.missing_count,
        "recovered": result.recovered,
        "still_missing": result.still_missing,
        "duration_s": step.duration_s,
        "summary": markdown(
            f"**{result.status}**: {matched:,} of {len(result.verdicts):,} blobs matched, {result.recovered} recovered",
            markdown_table(["blob", "verdict", "reason", "record"], named) if named else "",
            f"… and {len(others) - NAMES_SHOWN} more in the CSV" if len(others) > NAMES_SHOWN else "",
            f"⚠ {result.error}" if result.error else "",
            moved,
        ),
    }
