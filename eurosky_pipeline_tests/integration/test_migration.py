"""A whole migration on real servers, asset by asset."""

from __future__ import annotations

import hashlib
import shutil

import httpx
import pandas as pd
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.reconcile.verify import verify_accounts
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import check_account_status
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.pipeline import Run, files_holding, register, run_job

RECORDS, BLOBS, LEGACY = 90, 24, 3


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=RECORDS, blobs=BLOBS, blob_bytes=60_000, legacy=LEGACY, report=print)


@pytest.fixture(scope="module")
def run(registry: Registry, account: SeededAccount) -> Run:
    return run_job(registry, register(registry, account).token)


@pytest.fixture(scope="module")
def artifacts(sandbox, run: Run):
    return sandbox.home / "artifacts" / run.migration.token


@pytest.fixture(scope="module")
def destination(account: SeededAccount) -> XrpcClient:
    public = XrpcClient(httpx.Client(timeout=60), account.destination_pds)
    return public.with_authorization(log_in(public, account.did, SecretStr(account.destination_password)))


def test_the_run_succeeds_and_the_migration_ends_in_pending_prefs(run: Run) -> None:
    assert run.result.success
    assert run.migration.state is State.PENDING_PREFS
    assert run.migration.error_code is None
    assert run.migration.attempts == 1


def test_both_servers_give_the_same_records_and_the_same_blobs(
    run: Run, account: SeededAccount, destination: XrpcClient
) -> None:
    source = XrpcClient(httpx.Client(timeout=60), account.source_pds)
    found = verify_accounts(source, destination, account.did)
    assert found.differences == ()
    assert (found.records, found.blobs) == (RECORDS + LEGACY, BLOBS + LEGACY)


def test_the_destination_stays_deactivated(run: Run, destination: XrpcClient) -> None:
    assert not check_account_status(destination).is_activated


def test_progress_has_the_contracts_keys_and_true_numbers(run: Run) -> None:
    progress = run.migration.progress_data
    assert progress["blob_count"] == progress["blobs_total"] == progress["blobs_completed"] == BLOBS + LEGACY
    assert progress["failed_blobs"] == []
    assert progress["bytes_transferred"] > 5_000_000  # one blob alone is over 5 MB
    assert progress["blobs_started_at"] <= progress["last_progress_update"] <= progress["blobs_completed_at"]
    assert progress["legacy_blobs_converted"] is False
    assert progress["reconciliation_status"] == "complete"
    assert progress["reconciliation_expected_blobs"] == progress["reconciliation_imported_blobs"] == BLOBS + LEGACY
    assert progress["reconciliation_missing_count"] == progress["reconciliation_still_missing"] == 0
    assert progress["reconciliation_records_equal"] == RECORDS + LEGACY
    assert progress["reconciliation_records_missing"] == progress["reconciliation_records_differing"] == 0


def test_exported_car_is_the_file_that_its_metadata_names(run: Run, artifacts) -> None:
    metadata = run.metadata("exported_car")
    data = (artifacts / "account.car").read_bytes()
    assert metadata["path"] == str(artifacts / "account.car")
    assert metadata["sha256"] == hashlib.sha256(data).hexdigest()
    assert metadata["size_bytes"] == len(data)
    assert metadata["records"] == RECORDS + LEGACY
    assert "app.bsky.feed.post" in {row["collection"] for row in metadata["largest_collections"]}


def test_converted_car_is_passed_on_byte_for_byte_and_says_how_many_legacy_references(run: Run, artifacts) -> None:
    assert (artifacts / "account.converted.car").read_bytes() == (artifacts / "account.car").read_bytes()
    metadata = run.metadata("converted_car")
    assert metadata["legacy_blob_refs"] == LEGACY
    assert f"{LEGACY} legacy blob references" in metadata["summary"]


def test_imported_repo_is_proved_record_by_record(run: Run) -> None:
    metadata = run.metadata("imported_repo")
    assert metadata["records_proved"] == RECORDS + LEGACY
    assert metadata["is_skipped"] is False
    assert metadata["root"] == run.metadata("exported_car")["root"]


def test_blob_manifest_names_every_blob_once_with_its_record(run: Run, artifacts) -> None:
    manifest = pd.read_csv(artifacts / "blob_manifest.csv")
    assert len(manifest) == manifest["blob_cid"].nunique() == BLOBS + LEGACY
    assert manifest["is_referenced"].all()
    assert manifest["is_legacy"].sum() == LEGACY
    assert (manifest["references"] > 1).any()  # some blobs are shared by two records
    with open_repo(artifacts / "account.car") as repo:
        assert set(manifest["first_record"]) <= dict(repo.keys()).keys()


def test_each_blob_has_one_ledger_row_with_its_own_mime_type(registry: Registry, run: Run, artifacts) -> None:
    ledger = registry.outcomes(run.migration.token)
    assert {str(row.blob_cid) for row in ledger} == set(pd.read_csv(artifacts / "blob_manifest.csv")["blob_cid"])
    assert {row.outcome for row in ledger} == {"transferred"}
    assert len({row.mime_type for row in ledger}) >= 3
    assert sum(row.size_bytes for row in ledger) == run.migration.progress_data["bytes_transferred"]


def test_the_report_names_every_blob_as_matched(run: Run, artifacts) -> None:
    report = pd.read_csv(artifacts / "reconciliation_report.csv")
    assert len(report) == BLOBS + LEGACY
    assert set(report["verdict"]) == {"matched"}
    sizes = report[["size_bytes", "claimed_bytes"]].dropna()
    assert len(sizes) == BLOBS  # legacy references claim none
    assert (sizes["size_bytes"] == sizes["claimed_bytes"]).all()


def test_the_report_names_no_record_since_all_are_equal(run: Run, artifacts) -> None:
    assert pd.read_csv(artifacts / "reconciliation_records.csv").empty
    assert run.metadata("reconciliation_report")["records_equal"] == RECORDS + LEGACY


def test_every_check_has_passed_and_says_it_with_numbers(run: Run) -> None:
    checks = {check.check_name: check for check in run.result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == dict.fromkeys(
        ["repo_is_whole", "import_is_proved", "every_blob_arrived", "records_are_equal", "sizes_are_as_referenced"],
        True,
    )
    assert checks["records_are_equal"].metadata["equal"].value == RECORDS + LEGACY
    assert checks["sizes_are_as_referenced"].metadata["compared"].value == BLOBS


def test_nothing_stays_in_scratch_but_the_cars_and_the_tables(sandbox, run: Run) -> None:
    scratch = sandbox.home / "work" / run.migration.token
    assert sorted(path.name for path in scratch.iterdir()) == [
        "account.car",
        "account.converted.car",
        "blob_manifest.csv",
        "reconciliation_records.csv",
        "reconciliation_report.csv",
    ]


def test_running_it_again_skips_the_import_and_changes_nothing(registry: Registry, run: Run) -> None:
    again = run_job(registry, run.migration.token)
    assert again.result.success
    assert again.metadata("imported_repo")["is_skipped"] is True
    assert again.migration.state is State.PENDING_PREFS
    assert again.migration.attempts == 2
    assert again.migration.progress_data["reconciliation_status"] == "complete"


def test_a_cleared_scratch_folder_is_filled_from_the_artifacts(sandbox, registry: Registry, run: Run) -> None:
    token = run.migration.token
    shutil.rmtree(sandbox.home / "work" / token)
    again = run_job(registry, token, assets=["reconciliation_report"])
    assert again.result.success
    assert again.metadata("reconciliation_report")["matched"] == BLOBS + LEGACY


def test_blobs_are_not_sent_before_the_repository(registry: Registry, sandbox) -> None:
    account = seed(sandbox.state, records=10, blobs=2, blob_bytes=10_000, report=print)
    token = register(registry, account).token
    early = run_job(registry, token, assets=["exported_car", "converted_car", "blob_manifest", "transferred_blobs"])
    assert not early.result.success
    assert early.migration.error_code == "repo_not_imported"
    assert registry.outcomes(token) == []


def test_no_password_stands_in_any_byte_under_the_home(sandbox, run: Run, account: SeededAccount) -> None:
    assert files_holding(account.did, sandbox.home)  # it does look into the databases
    assert files_holding(account.destination_password, sandbox.home) == []
