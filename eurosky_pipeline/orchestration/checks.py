"""The asset checks: what a green run has proved, said with numbers."""

import warnings
from collections.abc import Mapping

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, PreviewWarning

from eurosky_pipeline.atproto.summary import RepoSummary
from eurosky_pipeline.orchestration.metadata import plain
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.reconcile.reconcile import Reconciliation
from eurosky_pipeline.reconcile.records import RecordComparison, RecordVerdict
from eurosky_pipeline.reconcile.verdicts import Verdict
from eurosky_pipeline.transfer.import_repo import ImportedRepo


def _check(name: str, *, asset: str, description: str) -> AssetCheckSpec:
    """A check with a result for each migration, and not just the last one's."""
    with warnings.catch_warnings():
        # to be had in the version that setup.py pins; in another one `test_checks` says whether it still is
        warnings.simplefilter("ignore", PreviewWarning)
        return AssetCheckSpec(name, asset=asset, description=description, partitions_def=MIGRATIONS)


REPO_IS_WHOLE = _check(
    "repo_is_whole",
    asset="exported_car",
    description="Every block hashes to its CID, the tree is canonical, and no record is missing",
)
IMPORT_IS_PROVED = _check(
    "import_is_proved",
    asset="imported_repo",
    description="The destination's own getRepo has every key with the same CID",
)
EVERY_BLOB_ARRIVED = _check(
    "every_blob_arrived",
    asset="reconciliation_report",
    description="Every blob of the manifest is at the destination; warns where some cannot be had",
)
RECORDS_ARE_EQUAL = _check(
    "records_are_equal",
    asset="reconciliation_report",
    description="The destination's own getRepo still has every record that was imported, and no other",
)
SIZES_ARE_AS_REFERENCED = _check(
    "sizes_are_as_referenced",
    asset="reconciliation_report",
    description="Each blob has as many bytes as the record that names it says; warns where a record is wrong",
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
    tally, error = reconciliation.tally, reconciliation.error
    matched = tally.counts[Verdict.MATCHED]
    return AssetCheckResult(
        check_name=EVERY_BLOB_ARRIVED.name,
        passed=matched == tally.blobs and not error,
        severity=AssetCheckSeverity.WARN,
        description=f"{matched:,} of {tally.blobs:,} blobs matched"
        + ("" if matched == tally.blobs else "; `unmatched_blobs` of the asset names the others"),
        metadata={**_numbers(tally.counts), **({"error": error} if error else {})},
    )


def records_are_equal(records: RecordComparison) -> AssetCheckResult:
    """An error where a record was lost or changed by nobody's will; a warning where that is not known, or where the
    account's owner may have done it. It blocks nothing: the import was proved once, and whoever looks decides."""
    equal = records.counts[RecordVerdict.EQUAL]
    is_nobodys_will = records.has_lost and not records.is_active
    return AssetCheckResult(
        check_name=RECORDS_ARE_EQUAL.name,
        passed=records.is_compared and not records.has_lost,
        severity=AssetCheckSeverity.ERROR if is_nobodys_will else AssetCheckSeverity.WARN,
        description=plain(records.error) if records.error else f"{equal:,} of {records.records:,} records are equal",
        metadata={
            **_numbers(records.counts),
            "is_active_at_destination": records.is_active,
            **({"error": records.error} if records.error else {}),
        },
    )


def sizes_are_as_referenced(reconciliation: Reconciliation) -> AssetCheckResult:
    """A warning: a record that says a wrong size is the source's, and moves as it is."""
    tally = reconciliation.tally
    right = tally.sizes_compared - tally.sizes_other
    return AssetCheckResult(
        check_name=SIZES_ARE_AS_REFERENCED.name,
        passed=not tally.sizes_other,
        severity=AssetCheckSeverity.WARN,
        description=f"{right:,} of {tally.sizes_compared:,} sizes are as records say",
        metadata={
            "compared": tally.sizes_compared,
            "other": tally.sizes_other,
            **({"named": [str(row.blob_cid) for row in tally.sizes_shown]} if tally.sizes_shown else {}),
        },
    )


def _numbers(counts: Mapping[Verdict, int] | Mapping[RecordVerdict, int]) -> dict[str, int]:
    return {str(verdict): count for verdict, count in counts.items()}
