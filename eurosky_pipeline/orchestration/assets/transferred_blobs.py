"""The blobs, from server to server."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from dagster import AssetExecutionContext, AssetObservation, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import MANIFEST_CSV
from eurosky_pipeline.orchestration.assets.blob_manifest import blob_manifest
from eurosky_pipeline.orchestration.assets.imported_repo import imported_repo
from eurosky_pipeline.orchestration.blob_transfer import BlobTransferResource
from eurosky_pipeline.orchestration.metadata import banner, rates, table, without_cid
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.reconcile.reconcile import NO_VERDICT
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.transfer.blobs import TransferTotals, utc_now
from eurosky_pipeline.transfer.manifest import read_rows
from eurosky_pipeline.transfer.plan import TransferPlan
from eurosky_pipeline.transfer.progress import ProgressSink
from eurosky_pipeline.words import human_bytes

STAGE = "transferred_blobs"
FAILURES_LOGGED = 50
FAILURES_SHOWN = 20
OBSERVATION_INTERVAL_S = 30.0
OBSERVATION_SHARE = 0.05


@migration_asset(kinds={"atproto", "pds"}, deps=[imported_repo, blob_manifest])
def transferred_blobs(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    blob_transfer: BlobTransferResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """Every blob of the manifest, by `com.atproto.sync.getBlob` and `com.atproto.repo.uploadBlob`, five at a time.

    Each is hashed on its way to disk, compared with its CID, sent with its own mime type, and the answer compared
    again. A blob that fails is recorded with its reason, and the rest goes on.
    """
    with migration_step(context, registry, workspace) as step:
        step.require_imported()
        source, destination = pds.source(step), pds.destination(step)
        plan = blob_transfer.plan(step, read_rows(step.files.fetch(MANIFEST_CSV)), destination)
        if plan.to_move or step.migration.state is not State.PENDING_PREFS:  # else what was said of them still holds
            step.registry.record(step.token, {"blobs_started_at": utc_now(), "blobs_completed_at": None, **NO_VERDICT})
        progress.begin(STAGE, len(plan.to_move), "blobs", total_bytes=plan.bytes_to_move or None)
        totals = blob_transfer.run(
            step,
            plan,
            source,
            destination,
            _teller(context, progress),
            on_bytes=lambda count: progress.moved(STAGE, count),
        )
        progress.end(STAGE, _summary(totals, plan))
        if totals.failed:
            context.log.warning(f"[{step.token}] {_summary(totals, plan)}; failed: {_failures(totals)}")
        yield MaterializeResult(metadata=_metadata(step, totals, plan))


def _teller(context: AssetExecutionContext, progress: ProgressSink) -> Callable[[TransferTotals, BlobOutcome], None]:
    """Tell the foreground of each blob, the log of each that failed up to a bound, and Dagster now and then, as an
    event costs tens of milliseconds."""
    told_share, told_s = 0.0, time.monotonic()

    def tell(totals: TransferTotals, outcome: BlobOutcome) -> None:
        nonlocal told_share, told_s
        progress.advance(STAGE, 1, failed=0 if outcome.is_there else 1)
        if not outcome.is_there:
            text = f"{outcome.blob_cid} {outcome.outcome}: {outcome.error_text} [{outcome.error_code}]"
            progress.note(STAGE, text)
            if len(totals.failed) <= FAILURES_LOGGED:
                context.log.warning(f"[{context.partition_key}] {text}")
            elif len(totals.failed) == FAILURES_LOGGED + 1:
                more = "more blobs have failed; from here on only the ledger names them"
                context.log.warning(f"[{context.partition_key}] {more}")
        share, now_s = totals.blobs_settled / totals.blobs_total, time.monotonic()
        since_s = now_s - told_s
        if since_s >= OBSERVATION_INTERVAL_S or (since_s >= 1 and share - told_share >= OBSERVATION_SHARE):
            told_share, told_s = share, now_s
            numbers = {
                "blobs_settled": totals.blobs_settled,
                "blobs_total": totals.blobs_total,
                "bytes_transferred": totals.bytes_transferred,
                "failed": len(totals.failed),
            }
            context.log_event(AssetObservation(context.asset_key, partition=context.partition_key, metadata=numbers))

    return tell


def _there_before(plan: TransferPlan) -> int:
    return plan.arrived_before + len(plan.found)


def _summary(totals: TransferTotals, plan: TransferPlan) -> str:
    there = f", {_there_before(plan):,} of them already there" if _there_before(plan) else ""
    size = human_bytes(totals.bytes_transferred)
    return f"{totals.blobs_completed:,} of {totals.blobs_total:,} blobs, {size}{there}"


def _failures(totals: TransferTotals) -> str:
    counts = Counter(outcome.outcome for outcome in totals.failed)
    return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common())


def _outcomes(totals: TransferTotals) -> list[tuple[str, int, str]]:
    """How many blobs came to what, and of those that did not arrive one reason."""
    reasons = {str(o.outcome): without_cid(o.error_text, o.blob_cid) for o in reversed(totals.failed)}
    return [(outcome, count, reasons.get(outcome, "")) for outcome, count in totals.by_outcome.items()]


def _class(outcome: BlobOutcome) -> str:
    """What became of it, and the code where that says more."""
    is_same = outcome.error_code in {outcome.outcome, None}
    return str(outcome.outcome) if is_same else f"{outcome.outcome} ({outcome.error_code})"


def _metadata(step: Step, totals: TransferTotals, plan: TransferPlan) -> dict[str, Any]:
    failures = [(_class(o), o.blob_cid, without_cid(o.error_text, o.blob_cid)) for o in totals.failed[:FAILURES_SHOWN]]
    hidden = len(totals.failed) - len(failures)
    largest = [(human_bytes(o.size_bytes), o.mime_type, o.blob_cid) for o in totals.largest]
    return {
        "summary": banner(
            f"**{_summary(totals, plan)}**",
            f"⚠ {len(totals.failed):,} did not arrive: {_failures(totals)}" if failures else "",
            f"{hidden:,} more than are listed here: the reconciliation's report names all" if hidden else "",
        ),
        **table("outcomes", ["outcome", "blobs", "for example"], _outcomes(totals)),
        **table("failed_blobs", ["outcome", "blob", "reason"], failures),
        **table("largest_blobs", ["size", "type", "blob"], largest),
        "blobs_total": totals.blobs_total,
        "blobs_completed": totals.blobs_completed,
        "blobs_already_there": _there_before(plan),
        "blobs_failed": len(totals.failed),
        "bytes_transferred": totals.bytes_transferred,
        "duration_s": step.duration_s,
        **rates(totals.by_outcome.get(Outcome.TRANSFERRED, 0), totals.bytes_moved, step.duration_s),
    }
