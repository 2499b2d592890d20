"""Each asset materialized again by itself, in any order, on an account that has arrived: nothing is harmed by it."""

from __future__ import annotations

import pytest

from eurosky_pipeline.reconcile.verify import verify_accounts
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.endpoints import apply_writes, check_account_status, list_missing_blobs
from eurosky_pipeline_tests.integration.activation import activate
from eurosky_pipeline_tests.integration.test_order import session, write_post
from eurosky_pipeline_tests.pipeline import register, run_job

ASSETS = ("exported_car", "converted_car", "imported_repo", "blob_manifest", "transferred_blobs")
REPORT = "reconciliation_report"
RECORDS, BLOBS = 12, 4


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=RECORDS, blobs=BLOBS, blob_bytes=9_000, report=print)


@pytest.fixture
def token(registry: Registry, account: SeededAccount) -> str:
    """Of a migration that has come to its end."""
    arrived = register(registry, account).token
    assert run_job(registry, arrived).migration.state is State.PENDING_PREFS
    return arrived


def check_arrived(account: SeededAccount, records: int = RECORDS) -> None:
    """By what the two servers give out."""
    destination = session(account, Side.DESTINATION)
    found = verify_accounts(session(account, Side.SOURCE), destination, account.did)
    assert (found.differences, found.records, found.blobs) == ((), records, BLOBS)
    assert list(list_missing_blobs(destination)) == []


def test_any_asset_in_any_order_leaves_an_arrived_account_and_its_verdict_as_they_are(
    registry: Registry, account: SeededAccount, token: str
) -> None:
    sent = registry.outcomes(token)
    order = ["transferred_blobs", REPORT, "imported_repo", "exported_car", REPORT, "blob_manifest", "converted_car"]
    refused = ["transferred_blobs", REPORT]  # another conversion may name other blobs: the manifest comes first
    order_again = ["imported_repo", "blob_manifest", REPORT, "transferred_blobs"]
    for asset in [*order, *refused, *order_again]:
        run = run_job(registry, token, assets=[asset])
        assert run.migration.state is State.PENDING_PREFS, asset
        assert run.migration.progress_data["reconciliation_status"] == "complete", asset
        assert run.migration.progress_data["blobs_completed"] == BLOBS, asset
        if not run.result.success:
            assert asset == refused.pop(0)
            assert "materialize the assets before this one first" in run.failure_text
    assert refused == []
    assert registry.outcomes(token) == sent
    check_arrived(account)


def test_a_newer_export_by_itself_voids_what_depends_on_it_and_harms_nothing(
    registry: Registry, account: SeededAccount, token: str
) -> None:
    write_post(account)
    assert run_job(registry, token, assets=["exported_car"]).result.success
    for asset in ("imported_repo", "blob_manifest", "transferred_blobs", REPORT):
        run = run_job(registry, token, assets=[asset])
        assert "materialize the assets before this one first" in run.failure_text, asset
        assert (run.migration.state, run.migration.error_code) == (State.PENDING_PREFS, None), asset
    assert check_account_status(session(account, Side.DESTINATION)).indexed_records == RECORDS
    again = run_job(registry, token)
    assert (again.migration.state, again.metadata("imported_repo")["records_proved"]) == (
        State.PENDING_PREFS,
        RECORDS + 1,
    )
    check_arrived(account, RECORDS + 1)


def test_an_account_in_use_at_the_destination_loses_nothing_that_it_has_written_there(
    sandbox, registry: Registry, account: SeededAccount, token: str
) -> None:
    destination = session(account, Side.DESTINATION)
    activate(sandbox.state, account.did, session(account, Side.SOURCE), destination)
    post = {"$type": "app.bsky.feed.post", "text": "written there", "createdAt": "2026-01-01T00:00:00Z"}
    create = {"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": post}
    apply_writes(destination, account.did, [create])

    refused = run_job(registry, token, assets=["imported_repo"])
    assert "is active" in refused.failure_text
    for asset in (*ASSETS, None):  # the source is deactivated by now: it gives nothing out, and that is no failure
        run = run_job(registry, token, assets=[asset] if asset else None)
        assert run.migration.state is State.PENDING_PREFS, asset
    assert check_account_status(destination).indexed_records == RECORDS + 1
    reported = run_job(registry, token, assets=[REPORT])
    assert not reported.result.success
