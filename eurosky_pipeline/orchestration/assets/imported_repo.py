"""The repository at the destination, proved."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import CONVERTED_CAR
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.checks import IMPORT_IS_PROVED, import_is_proved
from eurosky_pipeline.orchestration.metadata import banner
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.reconcile.reconcile import NO_VERDICT
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.import_repo import ImportedRepo, import_and_prove
from eurosky_pipeline.transfer.plan import IMPORTED_AT
from eurosky_pipeline.transfer.progress import ProgressSink
from eurosky_pipeline.words import human_bytes


@migration_asset(kinds={"atproto", "pds"}, deps=[converted_car], check_specs=[IMPORT_IS_PROVED])
def imported_repo(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """The repository at the destination: sent by `com.atproto.repo.importRepo`, read back by `getRepo`, compared.

    Skipped where the destination already stands at the CAR's root; refused where the account is active there, since
    an import deletes what the CAR lacks.
    """
    with migration_step(context, registry, workspace) as step:
        car = step.files.fetch(CONVERTED_CAR)
        progress.begin("imported_repo", car.stat().st_size, "B")
        imported = import_and_prove(
            pds.destination(step),
            step.migration.did,
            car,
            is_active_allowed=step.migration.is_active_destination_allowed,
            max_bytes=load_settings().max_repo_bytes,
            stop=step.stop,
            on_bytes=lambda count: progress.advance("imported_repo", count),
        )
        if step.migration.state is State.PENDING_REPO or not imported.is_skipped:
            _blobs_are_due(step)
        there = " (it was already there)" if imported.is_skipped else ""
        progress.end("imported_repo", f"{imported.records_proved:,} records proved{there}")
        yield MaterializeResult(metadata=_metadata(step, imported), check_results=[import_is_proved(imported)])


def _blobs_are_due(step: Step) -> None:
    """Another repository than before is there: what was said of its blobs is of the past."""
    due = {**NO_VERDICT, IMPORTED_AT: datetime.now(UTC).isoformat()}
    if step.migration.state is State.PENDING_BLOBS:
        step.registry.record(step.token, due)
    else:
        step.registry.transition(step.token, step.migration.state, State.PENDING_BLOBS, due)


def _metadata(step: Step, imported: ImportedRepo) -> dict[str, Any]:
    verb = "was already there" if imported.is_skipped else "was imported"
    return {
        "summary": banner(
            f"The repository ({human_bytes(imported.size_bytes)}) {verb} at {step.migration.destination_pds}, "
            f"and **all {imported.records_proved:,} records** were read back with the same CIDs."
        ),
        "records_proved": imported.records_proved,
        "is_skipped": imported.is_skipped,
        "size_bytes": imported.size_bytes,
        "root": str(imported.root),
        "duration_s": step.duration_s,
    }
