"""The verdict: every blob and every record, named."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV, REPORT_CSV
from eurosky_pipeline.atproto.car import read_root
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.orchestration.assets.transferred_blobs import transferred_blobs
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.checks import (
    EVERY_BLOB_ARRIVED,
    RECORDS_ARE_EQUAL,
    SIZES_ARE_AS_REFERENCED,
    every_blob_arrived,
    records_are_equal,
    sizes_are_as_referenced,
)
from eurosky_pipeline.orchestration.metadata import banner, plain, table, warned, without_cid
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.reconcile.books import Books
from eurosky_pipeline.reconcile.reconcile import Reconciliation, reconcile
from eurosky_pipeline.reconcile.records import RECORDS_CSV, RecordComparison, RecordVerdict, compare_records
from eurosky_pipeline.reconcile.search import BlobSearch
from eurosky_pipeline.reconcile.source_moved import SourceMove, look_for_source_move
from eurosky_pipeline.reconcile.verdicts import Verdict
from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.blobs import utc_now
from eurosky_pipeline.transfer.manifest import read_rows
from eurosky_pipeline.transfer.plan import IMPORTED_AT
from eurosky_pipeline.transfer.progress import ProgressSink
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.retry import RetryPolicy

STAGE = "reconciliation_report"


@migration_asset(
    kinds={"csv"},
    deps=[transferred_blobs],
    check_specs=[EVERY_BLOB_ARRIVED, RECORDS_ARE_EQUAL, SIZES_ARE_AS_REFERENCED],
)
def reconciliation_report(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    blob_transfer: BlobTransferResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """Each record compared with what the destination's `getRepo` gives back, each blob asked for; what the destination
    misses (`com.atproto.repo.listMissingBlobs`, and what it does not give out) is fetched again until nothing changes.

    Best effort: blobs that nobody has any more do not keep the account from moving, and are listed with the reason.
    """
    with migration_step(context, registry, workspace) as step:
        step.require_imported()
        source, destination = pds.source(step), pds.destination(step)
        progress.begin(STAGE, step.migration.progress_data.get("blob_count"), "blobs")
        records = _compared_records(step, destination)
        moved = look_for_source_move(source, step.migration.did, step.files.fetch(ACCOUNT_CAR))
        search = _search(step, blob_transfer, source, destination, _run_began_at(context))
        search.on_looked = lambda: progress.advance(STAGE, 1)
        root = read_root(step.files.fetch(CONVERTED_CAR))
        result = reconcile(search, root, records, step.files.scratch(REPORT_CSV))
        paths = {"path": step.files.keep(REPORT_CSV).uri, "records_path": step.files.keep(RECORDS_CSV).uri}
        _put_right(step, search.unrecorded)
        if result.rate_limit is not None:
            step.registry.record(step.token, result.as_progress())
            raise result.rate_limit
        _finish(step, result, moved)
        matched = result.tally.counts[Verdict.MATCHED]
        progress.end(STAGE, f"{matched:,} of {result.tally.blobs:,} blobs matched")
        yield MaterializeResult(
            metadata={**_metadata(step, result, moved.text), **paths},
            check_results=[every_blob_arrived(result), records_are_equal(records), sizes_are_as_referenced(result)],
        )


def _compared_records(step: Step, destination: XrpcClient) -> RecordComparison:
    settings = load_settings()
    return compare_records(
        destination,
        step.migration.did,
        step.files.fetch(CONVERTED_CAR),
        step.files.scratch(RECORDS_CSV),
        max_bytes=settings.max_repo_bytes,
        retry=RetryPolicy(settings.max_blob_retries, settings.max_wait_s),
        stop=step.stop,
    )


def _search(
    step: Step,
    blob_transfer: BlobTransferResource,
    source: XrpcClient,
    destination: XrpcClient,
    since: datetime | None,
) -> BlobSearch:
    manifest, settings = step.files.fetch(MANIFEST_CSV), load_settings()
    imported_at = step.migration.progress_data.get(IMPORTED_AT)

    def copy_again(cids: list[Cid]) -> list[BlobOutcome]:
        planned = [row.blob_cid for row in read_rows(manifest)]
        return blob_transfer.run_again(step, cids, planned, source, destination)

    return BlobSearch(
        destination,
        step.migration.did,
        Books(
            partial(read_rows, manifest),
            partial(step.registry.each_outcome, step.token),
            since=since,
            imported_at=datetime.fromisoformat(imported_at) if imported_at else None,
        ),
        copy_again,
        workers=blob_transfer.workers,
        stop=step.stop,
        retry=RetryPolicy(settings.max_blob_retries, settings.max_wait_s),
    )


def _run_began_at(context: AssetExecutionContext) -> datetime | None:
    """What is in the ledger since then is this run's own work."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    began_s = record.start_time if record else None
    return datetime.fromtimestamp(began_s, UTC) if began_s else None


def _put_right(step: Step, found: list[BlobOutcome]) -> None:
    """Blobs that are there after all: the ledger and the count say so from now on."""
    completed = step.registry.get(step.token).progress_data.get("blobs_completed", 0)
    if found:
        step.registry.record(step.token, {"blobs_completed": completed + len(found)}, found)


def _finish(step: Step, result: Reconciliation, moved: SourceMove) -> None:
    """The end of what blobs can do: best effort, so whatever the verdict is, the migration goes on."""
    finished = {**result.as_progress(), "blobs_completed_at": utc_now(), "source_has_moved": moved.is_moved}
    if step.migration.state is State.PENDING_BLOBS:
        step.registry.transition(step.token, State.PENDING_BLOBS, State.PENDING_PREFS, finished)
    else:
        step.registry.record(step.token, finished)


def _metadata(step: Step, result: Reconciliation, moved: str) -> dict[str, Any]:
    tally, records = result.tally, result.records
    others = [
        (row.verdict, row.blob_cid, row.first_record or "", without_cid(row.reason, row.blob_cid))
        for row in tally.unmatched_shown
    ]
    reasons = {verdict: reason for verdict, *_, reason in reversed(others)}
    verdicts = [(verdict, count, reasons.get(verdict, "")) for verdict, count in tally.counts.items() if count]
    unequal = [(row.key, row.verdict, row.imported_cid, row.destination_cid) for row in records.shown]
    hidden = len(tally.unmatched) - len(others)
    hidden_records = records.records - records.counts[RecordVerdict.EQUAL] - len(unequal)
    matched, equal = tally.counts[Verdict.MATCHED], records.counts[RecordVerdict.EQUAL]
    return {
        "summary": banner(
            f"**{result.status}**: {matched:,} of {tally.blobs:,} blobs matched, {result.recovered or 0} recovered; "
            f"{equal:,} of {records.records:,} records are equal",
            f"{hidden:,} more blobs did not match than are listed here: the CSV names all" if hidden else "",
            f"{hidden_records:,} more records differ than are listed here: the CSV names all" if hidden_records else "",
            f"{result.vouched_for:,} blobs were not asked for: they were seen to arrive" if result.vouched_for else "",
            *warned([result.error] if result.error else []),
            _counts_told(result),
            plain(moved),
        ),
        **table("verdicts", ["verdict", "blobs", "for example"], verdicts),
        **table("unmatched_blobs", ["verdict", "blob", "record", "reason"], others),
        **table("unequal_records", ["record", "verdict", "imported", "at the destination"], unequal),
        "status": str(result.status),
        "blobs": tally.blobs,
        "matched": matched,
        "missing_at_first": result.missing_count,
        "recovered": result.recovered,
        "still_missing": result.still_missing,
        "rounds": result.rounds,
        **{f"records_{verdict}": count for verdict, count in records.counts.items()},
        **({"error": result.error} if result.error else {}),
        "duration_s": step.duration_s,
    }


def _counts_told(result: Reconciliation) -> str:
    if result.expected_blobs is None:
        return ""
    return (
        f"The destination itself counts {result.imported_blobs:,} of {result.expected_blobs:,} blobs as imported; "
        "that is shown, and proves nothing."
    )
