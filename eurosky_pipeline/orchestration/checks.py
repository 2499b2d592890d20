"""The asset checks: what a green run has proved, said with numbers."""

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec

from eurosky_pipeline.atproto.summary import RepoSummary
from eurosky_pipeline.reconcile.reconcile import Reconciliation, Verdict
from eurosky_pipeline.transfer.import_repo import ImportedRepo

REPO_IS_WHOLE = AssetCheckSpec(
    "repo_is_whole",
    asset="exported_car",
    description="Every block hashes to its CID, the tree is canonical, and no record is missing",
)
IMPORT_IS_PROVED = AssetCheckSpec(
    "import_is_proved",
    asset="imported_repo",
    description="The destination's own getRepo has every key with the same CID",
)
EVERY_BLOB_ARRIVED = AssetCheckSpec(
    "every_blob_arrived",
    asset="reconciliation_report",
    description="Every blob of the manifest is at the destination; warns where some cannot be had",
)


def repo_is_whole(summary: RepoSummary) -> AssetCheckResult:
    """Passed: a repository that is not whole is not exported at all."""
    numbers = {"blocks": summary.blocks, "records": summary.records, "orphan_blocks": summary.orphan_blocks}
    return AssetCheckResult(
        check_name=REPO_IS_WHOLE.name,
        passed=True,
        description=f"{summary.records:,} records in {summary.blocks:,} blocks",
        metadata=numbers,
    )


def import_is_proved(imported: ImportedRepo) -> AssetCheckResult:
    """Passed: an import that is not proved fails its asset."""
    return AssetCheckResult(
        check_name=IMPORT_IS_PROVED.name,
        passed=True,
        description=f"{imported.records_proved:,} records read back with the same CIDs",
        metadata={"records_compared": imported.records_proved},
    )


def every_blob_arrived(reconciliation: Reconciliation) -> AssetCheckResult:
    """A warning, and no error: a blob that nobody has any more must not keep an account from moving."""
    counts = {str(verdict): reconciliation.count(verdict) for verdict in Verdict}
    return AssetCheckResult(
        check_name=EVERY_BLOB_ARRIVED.name,
        passed=counts[Verdict.MATCHED] == len(reconciliation.verdicts) and not reconciliation.error,
        severity=AssetCheckSeverity.WARN,
        description=f"{counts[Verdict.MATCHED]:,} of {len(reconciliation.verdicts):,} blobs matched",
        metadata={**counts, **({"error": reconciliation.error} if reconciliation.error else {})},
    )
