"""The verdict: every blob, named."""

from collections.abc import Iterator
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV, REPORT_CSV
from eurosky_pipeline.atproto.car import read_root
from eurosky_pipeline.orchestration.assets.transferred_blobs import transferred_blobs
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.checks import EVERY_BLOB_ARRIVED, every_blob_arrived
from eurosky_pipeline.orchestration.metadata import markdown, markdown_table
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.reconcile.reconcile import NAMES_SHOWN, Reconciliation, Verdict, reconcile, write_report
from eurosky_pipeline.reconcile.source_moved import SourceMove, look_for_source_move
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.transfer.blobs import utc_now
from eurosky_pipeline.transfer.manifest import read_rows
from eurosky_pipeline.transfer.progress import ProgressSink


@migration_asset(kinds={"csv"}, deps=[transferred_blobs], check_specs=[EVERY_BLOB_ARRIVED])
def reconciliation_report(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    blob_transfer: BlobTransferResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """What the destination still misses (`com.atproto.repo.listMissingBlobs`), tried once more; then every blob named.

    Best effort: blobs that nobody has any more do not keep the account from moving, and are listed with the reason.
    """
    with migration_step(context, registry, workspace) as step:
        step.require_imported()
        source, destination = pds.source(step), pds.destination(step)
        car = step.files.fetch(CONVERTED_CAR)
        manifest = list(read_rows(step.files.fetch(MANIFEST_CSV)))
        planned = [row.blob_cid for row in manifest]
        progress.begin("reconciliation_report", None, "blobs")
        result = reconcile(
            destination,
            step.migration.did,
            read_root(car),
            manifest,
            step.registry.outcomes(step.token),
            copy_again=lambda cids: blob_transfer.run_again(step, cids, planned, source, destination),
            workers=blob_transfer.workers,
            stop=step.stop,
        )
        write_report(result, step.files.scratch(REPORT_CSV))
        path = step.files.keep(REPORT_CSV)
        moved = look_for_source_move(source, step.migration.did, step.files.fetch(ACCOUNT_CAR))
        _finish(step, result, moved)
        matched = result.count(Verdict.MATCHED)
        progress.end("reconciliation_report", f"{matched:,} of {len(result.verdicts):,} blobs matched")
        yield MaterializeResult(
            metadata={**_metadata(step, result, moved.text), "path": str(path)},
            check_results=[every_blob_arrived(result)],
        )


def _finish(step: Step, result: Reconciliation, moved: SourceMove) -> None:
    """The end of what blobs can do: best effort, so whatever the verdict is, the migration goes on."""
    finished = {**result.as_progress(), "blobs_completed_at": utc_now(), "source_has_moved": moved.is_moved}
    if step.migration.state is State.PENDING_BLOBS:
        step.registry.transition(step.token, State.PENDING_BLOBS, State.PENDING_PREFS, finished)
    else:
        step.registry.record(step.token, finished)


def _metadata(step: Step, result: Reconciliation, moved: str) -> dict[str, Any]:
    others = [row for row in result.verdicts if row.verdict is not Verdict.MATCHED]
    named = [(row.blob_cid, row.verdict, row.reason, row.first_record) for row in others[:NAMES_SHOWN]]
    matched = result.count(Verdict.MATCHED)
    return {
        "summary": markdown(
            f"**{result.status}**: {matched:,} of {len(result.verdicts):,} blobs matched, "
            f"{result.recovered or 0} recovered",
            markdown_table(["blob", "verdict", "reason", "record"], named) if named else "",
            f"… and {len(others) - NAMES_SHOWN} more in the CSV" if len(others) > NAMES_SHOWN else "",
            f"⚠ {result.error}" if result.error else "",
            moved,
        ),
        "status": str(result.status),
        "blobs": len(result.verdicts),
        "matched": matched,
        "missing_at_first": result.missing_count,
        "recovered": result.recovered,
        "still_missing": result.still_missing,
        "error": result.error,
        "duration_s": step.duration_s,
    }
