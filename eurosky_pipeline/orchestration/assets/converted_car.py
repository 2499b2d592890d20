"""The repository as it will be imported."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, MaterializeResult, ResourceParam

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV
from eurosky_pipeline.convert.convert_repo import SourceSizes, chosen_transforms, convert_repo
from eurosky_pipeline.orchestration.assets.exported_car import exported_car
from eurosky_pipeline.orchestration.conversion import NO_CONVERSION, ConversionTeller, conversion_metadata, outcome_of
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.plugins.record_transforms import UnknownSize
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.progress import ProgressSink


@migration_asset(kinds={"atproto", "car"}, deps=[exported_car])
def converted_car(
    context: AssetExecutionContext,
    registry: RegistryResource,
    workspace: WorkspaceResource,
    pds: PdsResource,
    progress: ResourceParam[ProgressSink],
) -> Iterator[MaterializeResult]:
    """The exported repository, its legacy blob references (`{cid, mimeType}`, from before 2023) in the current form.

    Where there are none, or nobody asks for their conversion (`CONVERT_LEGACY_BLOBS`, or the migration's own switch),
    it is passed on byte for byte, signature and all, unless another record transform changes it; legacy references
    are counted in any case. The sizes that the current form needs are asked of the source, five at a time: a HEAD of
    `com.atproto.sync.getBlob`, and no request for a blob whose size another reference tells.
    """
    with migration_step(context, registry, workspace, is_preparing=True) as step:
        settings, exported = load_settings(), step.files.fetch(ACCOUNT_CAR)
        step.files.discard(CONVERTED_CAR, MANIFEST_CSV)  # what another choice has made must not be imported
        step.registry.record(step.token, NO_CONVERSION)
        names = chosen_transforms(settings, step.migration.convert_legacy_blobs)
        teller = ConversionTeller(context, step, progress, names, exported.stat().st_size)
        converted = convert_repo(
            exported,
            step.files.scratch(CONVERTED_CAR),
            names,
            unknown_size=UnknownSize(settings.unknown_blob_size),
            sizes=SourceSizes(lambda: pds.source(step), step.migration.did, settings, step.stop, teller.report),
            report=teller.report,
            on_found=teller.found,
            on_read=teller.read,
        )
        kept = step.files.keep(CONVERTED_CAR)
        step.registry.record(step.token, outcome_of(converted, kept.uri))
        teller.end(converted, kept.uri)
        yield MaterializeResult(metadata=conversion_metadata(step, converted, kept))
