"""The repository at the destination, proved."""

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam, asset

from eurosky_pipeline.artifacts.workspace import CONVERTED_CAR
from eurosky_pipeline.orchestration.assets.converted_car import converted_car
from eurosky_pipeline.orchestration.checks import IMPORT_IS_PROVED, import_is_proved
from eurosky_pipeline.orchestration.metadata import human_bytes, markdown
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import PdsResource, RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.import_repo import import_and_prove
from eurosky_pipeline.transfer.progress import ProgressSink


@asset(
    partitions_def=MIGRATIONS,
    group_name="migration",
    kinds={"atproto", "pds"},
    deps=[converted_car],
    check_specs=[IMPORT_IS_PROVED],
)
def imported_repo(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    progress: ResourceParam[ProgressSink],
) -> MaterializeResult:
    """The repository at the destination: sent by `com.atproto.repo.importRepo`, read back by `getRepo`, compared.

    Skipped where the destination already stands at the CAR's root; refused where the account is active there, since
    an import deletes what the CAR lacks.
    """
    with migration_step(context, registry.opened()) as step:
        migration, car = step.migration, workspace.of(step.token).fetch(CONVERTED_CAR)
        progress.begin("imported_repo", car.stat().st_size, "B")
        imported = import_and_prove(
            pds.destination(migration, registry.opened()),
            migration.did,
            car,
            is_active_allowed=migration.is_active_destination_allowed,
            max_bytes=load_settings().max_repo_bytes,
            stop=step.stop,
            on_bytes=lambda count: progress.advance("imported_repo", count),
        )
        if migration.state is State.PENDING_REPO:
            registry.opened().transition(step.token, State.PENDING_REPO, State.PENDING_BLOBS)
        verb = "was already there" if imported.is_skipped else "was imported"
        progress.end("imported_repo", f"{imported.records_proved:,} records proved")
        return MaterializeResult(
            metadata={
                "root": str(imported.root),
                "size_bytes": imported.size_bytes,
                "is_skipped": imported.is_skipped,
                "records_proved": imported.records_proved,
                "duration_s": step.duration_s,
                "summary": markdown(
                    f"The repository ({human_bytes(imported.size_bytes)}) {verb} at {migration.destination_pds}, "
                    f"and **all {imported.records_proved:,} records** were read back with the same CIDs."
                ),
            },
            check_results=[import_is_proved(imported)],
        )
