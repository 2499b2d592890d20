"""The source's repository, on disk and verified."""

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV
from eurosky_pipeline.atproto.car import read_root
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.identity.account import AccountCheck, check_account, signature_doubt
from eurosky_pipeline.identity.did import document_url
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.orchestration.checks import REPO_IS_WHOLE, repo_is_whole
from eurosky_pipeline.orchestration.metadata import banner, largest, links, rates, table, warned
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.export_repo import ExportedRepo, export_repo
from eurosky_pipeline.transfer.progress import ProgressSink
from eurosky_pipeline.words import human_bytes


@migration_asset(kinds={"atproto", "car"}, check_specs=[REPO_IS_WHOLE])
def exported_car(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """The account's whole repository, streamed from the source by `com.atproto.sync.getRepo`.

    Every block is hashed against its CID, the tree is walked, every record decoded, and the commit must be of the
    migration's DID; only then does the file get its name.
    """
    with migration_step(context, registry, workspace, is_preparing=True) as step:
        progress.begin("exported_car", None, "B")
        step.files.clear_leftovers()
        directory = pds.directory(step.migration)
        account = _check_account(directory, step)
        for warning in account.warnings:
            context.log.warning(f"[{step.token}] {warning}")
        pds.destination(step)  # a wrong password is better told now than after a long export
        pds.check_distinct(step)
        exported = export_repo(
            pds.source(step),
            step.migration.did,
            step.files.scratch(ACCOUNT_CAR),
            max_bytes=load_settings().max_repo_bytes,
            stop=step.stop,
            on_bytes=lambda count: progress.advance("exported_car", count),
            on_verified=lambda summary: _discard_stale(step, summary.root),
        )
        kept = step.files.keep(ACCOUNT_CAR)
        doubt = signature_doubt(account.document, exported.commit)
        if doubt:
            context.log.warning(f"[{step.token}] {doubt}")
        progress.end("exported_car", f"{exported.summary.records:,} records, {human_bytes(exported.size_bytes)}")
        yield MaterializeResult(
            metadata={
                **_metadata(step, exported, [*account.warnings, *filter(None, [doubt])]),
                "is_handle_verified": account.is_handle_verified,
                "is_signature_verified": not doubt,
                "path": kept.uri,
                **_links(directory, step),
            },
            check_results=[repo_is_whole(exported.summary)],
        )


def _discard_stale(step: Step, root: Cid) -> None:
    """Remove what was made from an earlier export, unless that was of the same root."""
    try:
        is_same = read_root(step.files.fetch(ACCOUNT_CAR)) == root
    except EuroskyError:  # there is none, or none that can be read
        is_same = False
    if not is_same:
        step.files.discard(CONVERTED_CAR, MANIFEST_CSV)


def _check_account(directory: Directory, step: Step) -> AccountCheck:
    migration = step.migration
    return check_account(directory, did=migration.did, handle=migration.handle, source_pds=migration.source_pds)


def _links(directory: Directory, step: Step) -> dict[str, Any]:
    migration = step.migration
    document = document_url(directory, migration.did)
    return links(document, migration.source_pds, migration.destination_pds, migration.did)


def _metadata(step: Step, exported: ExportedRepo, warnings: Sequence[str]) -> dict[str, Any]:
    summary = exported.summary
    size = human_bytes(exported.size_bytes)
    return {
        "summary": banner(
            f"**{summary.records:,} records** in {size} from {step.migration.source_pds}", *warned(warnings)
        ),
        **table("largest_collections", ["collection", "records"], largest(summary.records_by_collection)),
        "collections": len(summary.records_by_collection),
        "size_bytes": exported.size_bytes,
        "sha256": exported.sha256,
        "root": str(summary.root),
        "rev": summary.rev,
        "records": summary.records,
        "blocks": summary.blocks,
        "orphan_blocks": summary.orphan_blocks,
        "duplicate_blocks": summary.duplicate_blocks,
        "blobs_referenced": summary.distinct_blobs,
        "warnings": list(warnings),
        "duration_s": step.duration_s,
        "bytes_per_s": rates(0, exported.size_bytes, step.duration_s).get("bytes_per_s", 0.0),
    }
