"""What goes wrong between real servers: each a clear message, a true state, and nothing lost."""

from __future__ import annotations

import shutil
from dataclasses import replace

import httpx
import pandas as pd
import pytest
from pydantic import SecretStr

from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import check_account_status, get_repo
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.integration.relay_pds import relay_pds
from eurosky_pipeline_tests.pipeline import Run, register, run_job
from eurosky_pipeline_tests.stub_pds import Answer, stub_pds

UNKNOWN_DID = "did:plc:" + "z" * 24


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture(scope="module")
def another(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=20, blobs=3, blob_bytes=10_000, report=print)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that failed is tried again without a wait."""
    monkeypatch.setenv("EUROSKY_MAX_WAIT_S", "0")


@pytest.fixture
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=20, blobs=5, blob_bytes=10_000, report=print)


def migrate(registry: Registry, account: SeededAccount, **changes: object) -> Run:
    return run_job(registry, register(registry, account, **changes).token)


def assert_failed(run: Run, code: str, *phrases: str) -> None:
    assert not run.result.success
    assert run.migration.state is State.FAILED
    assert run.migration.error_code == code
    for phrase in phrases:
        assert phrase in run.failure_text
        assert phrase in run.migration.error_text


def session(account: SeededAccount, side: Side) -> XrpcClient:
    url = account.source_pds if side is Side.SOURCE else account.destination_pds
    password = account.source_password if side is Side.SOURCE else account.destination_password
    public = XrpcClient(new_http_client(5, HostPolicy(is_private_allowed=True)), url)
    return public.with_authorization(log_in(public, account.did, SecretStr(password)))


def test_an_unknown_did_names_the_directory_that_was_asked(registry, another) -> None:
    run = migrate(registry, replace(another, did=UNKNOWN_DID), handle=None)
    assert_failed(run, "did_not_found", another.plc_url.removeprefix("http://"), UNKNOWN_DID, "check the DID")


def test_a_host_that_does_not_resolve_is_named(registry, account) -> None:
    run = migrate(registry, account, source_pds="https://no-such-host.invalid")
    assert_failed(run, "host_unresolvable", "no-such-host.invalid does not resolve", "check the spelling")


def test_a_host_that_does_not_answer_is_named_and_can_be_run_again(registry, account, monkeypatch) -> None:
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
    run = migrate(registry, account, source_pds="http://127.0.0.1:9")
    assert_failed(run, "host_unreachable", "127.0.0.1:9", "getRepo", "run it again")


def test_a_wrong_password_is_told_before_anything_is_sent(registry, account) -> None:
    run = migrate(registry, account, password="not-the-password-1")
    assert_failed(run, "wrong_password", account.destination_pds.removeprefix("http://"), "check the password")
    assert "not-the-password-1" not in run.failure_text
    assert check_account_status(session(account, Side.DESTINATION)).indexed_records == 0


def test_an_account_that_the_destination_lacks_is_told_as_such(registry, sandbox, account) -> None:
    elsewhere = replace(account, source_pds=account.destination_pds, destination_pds=account.source_pds)
    with stub_pds() as empty:
        empty.routes["com.atproto.server.createSession"] = lambda _: Answer.of_json(
            {"error": "AuthenticationRequired", "message": "Invalid identifier or password"}, 401
        )
        run = run_allowed(registry, replace(elsewhere, source_pds=account.source_pds, destination_pds=empty.url))
    assert_failed(run, "wrong_password", "that the account exists on this host", "create it there")


def test_an_active_destination_is_refused_and_keeps_its_records(registry, account) -> None:
    destination = session(account, Side.DESTINATION)
    swapped = replace(
        account,
        source_pds=account.destination_pds,
        destination_pds=account.source_pds,
        source_password=account.destination_password,
        destination_password=account.source_password,
    )
    before = check_account_status(session(account, Side.SOURCE))
    token = registry.add(
        register_fields(swapped),
        {Side.DESTINATION: SecretStr(swapped.destination_password), Side.SOURCE: SecretStr(swapped.source_password)},
    ).token
    run = run_job(registry, token)
    assert_failed(run, "destination_active", "is active on", "deletes every record", "--allow-active-destination")
    assert check_account_status(session(account, Side.SOURCE)) == before
    assert not check_account_status(destination).is_activated


def test_a_deactivated_source_needs_its_password_and_says_so(registry, account) -> None:
    session(account, Side.SOURCE).procedure("com.atproto.server.deactivateAccount", {})
    run = migrate(registry, account)
    assert_failed(run, "repo_deactivated", "--source-password-env")
    token = registry.add(
        register_fields(account),
        {
            Side.DESTINATION: SecretStr(account.destination_password),
            Side.SOURCE: SecretStr(account.source_password),
        },
    ).token
    assert run_job(registry, token).migration.state is State.PENDING_PREFS


@pytest.mark.parametrize("cut_bytes", [1, 2000])
def test_a_truncated_car_is_refused_and_leaves_no_file(registry, sandbox, account, cut_bytes: int) -> None:
    car = read_repo(account)[:-cut_bytes]
    with stub_pds() as source:
        source.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car)
        run = run_allowed(registry, replace(account, source_pds=source.url))
        assert_failed(run, "repo_damaged", source.url.removeprefix("http://"), account.did, "is not whole", "at byte")
    assert not list((sandbox.home / "work" / run.migration.token).iterdir())


def test_a_body_shorter_than_announced_is_a_broken_connection(registry, account) -> None:
    car = read_repo(account)
    with stub_pds() as source:
        source.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car[:-100], announced_bytes=len(car))
        run = run_allowed(registry, replace(account, source_pds=source.url))
    assert_failed(run, "host_unreachable", "broke off its answer", "run it again")


def test_a_source_that_fails_for_a_while_is_asked_again_and_the_account_moves(registry, account) -> None:
    failures = [Answer.of_json({"error": "UpstreamFailure"}, 502)] * 2
    with relay_pds(account.source_pds) as source:
        source.faults["com.atproto.sync.getRepo"] = lambda _: failures.pop() if failures else None
        run = run_allowed(registry, replace(account, source_pds=source.url))
    assert run.result.success
    assert (run.migration.state, run.migration.attempts) == (State.PENDING_PREFS, 1)
    assert failures == []
    restarted = [event.step_key for event in run.result.all_events if event.event_type_value == "STEP_RESTARTED"]
    assert restarted == ["exported_car"] * 2


def test_another_accounts_car_is_refused(registry, account, another) -> None:
    car = read_repo(another)
    with stub_pds() as source:
        source.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car)
        run = run_allowed(registry, replace(account, source_pds=source.url))
    assert_failed(run, "foreign_repo", another.did, account.did, "do not import it")
    assert check_account_status(session(account, Side.DESTINATION)).indexed_records == 0


def test_a_blob_that_the_source_lost_is_named_and_the_rest_goes_on(registry, sandbox, account) -> None:
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account.did
    lost = min(path for path in folder.iterdir() if path.is_file())
    lost.unlink()
    run = migrate(registry, account)
    assert run.result.success
    assert run.migration.state is State.PENDING_PREFS
    progress = run.migration.progress_data
    assert (progress["blobs_total"], progress["blobs_completed"]) == (5, 4)
    assert progress["failed_blobs"] == [lost.name]
    assert progress["reconciliation_status"] == "partial"
    assert progress["reconciliation_still_missing"] == 1
    report = pd.read_csv(run.metadata("reconciliation_report")["path"]).set_index("blob_cid")
    assert report.loc[lost.name, "verdict"] == "missing_at_source"
    assert "Blob not found" in report.loc[lost.name, "reason"]
    assert (report["verdict"] == "matched").sum() == 4
    check = next(c for c in run.result.get_asset_check_evaluations() if c.check_name == "every_blob_arrived")
    assert not check.passed
    assert check.severity.value == "WARN"


def test_a_blob_that_came_back_is_recovered_by_running_it_again(registry, sandbox, account) -> None:
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account.did
    hidden = min(path for path in folder.iterdir() if path.is_file())
    shutil.move(hidden, sandbox.home / hidden.name)
    run = migrate(registry, account)
    assert run.migration.progress_data["reconciliation_status"] == "partial"
    shutil.move(sandbox.home / hidden.name, hidden)
    again = run_job(registry, run.migration.token, assets=["reconciliation_report"])
    assert again.migration.progress_data["reconciliation_status"] == "complete"
    assert again.migration.progress_data["reconciliation_recovered"] == 1
    assert again.migration.progress_data["failed_blobs"] == []


def test_a_blob_with_other_bytes_is_never_sent(registry, sandbox, account) -> None:
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account.did
    corrupt = min(path for path in folder.iterdir() if path.is_file())
    corrupt.write_bytes(corrupt.read_bytes()[:-1] + b"?")
    run = migrate(registry, account)
    assert run.migration.progress_data["failed_blobs"] == [corrupt.name]
    outcomes = {str(row.blob_cid): row.outcome for row in registry.outcomes(run.migration.token)}
    assert outcomes[corrupt.name] == "corrupt_at_source"


def test_a_failed_migration_goes_on_where_it_stopped_once_the_cause_is_mended(registry, account, monkeypatch) -> None:
    monkeypatch.setenv("EUROSKY_MAX_REPO_BYTES", "100")
    run = migrate(registry, account)
    assert_failed(run, "repo_too_large", "EUROSKY_MAX_REPO_BYTES")
    monkeypatch.delenv("EUROSKY_MAX_REPO_BYTES")
    again = run_job(registry, run.migration.token)
    assert again.migration.state is State.PENDING_PREFS
    assert again.migration.error_code is None
    assert again.migration.attempts == 2


def test_a_run_that_finds_the_migration_held_leaves_its_state_alone(registry, account) -> None:
    token = register(registry, account).token
    registry.acquire_lease(token, "another-run", 60)
    run = run_job(registry, token)
    assert not run.result.success
    assert "being worked on by run another-run" in run.failure_text
    assert run.migration.state is State.PENDING_REPO
    assert run.migration.error_code is None


def read_repo(account: SeededAccount) -> bytes:
    with (
        httpx.Client(timeout=60) as http,
        get_repo(XrpcClient(http, account.source_pds), account.did) as download,
    ):
        return b"".join(download.chunks)


def register_fields(account: SeededAccount):
    from eurosky_pipeline.registry.migration import NewMigration

    return NewMigration(account.did, account.source_pds, account.destination_pds)


def run_allowed(registry: Registry, account: SeededAccount) -> Run:
    """Run with private hosts allowed, as a stub on loopback is one; the sandbox's directory knows the account."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
        patch.setenv("EUROSKY_PLC_URL", account.plc_url)
        return migrate(registry, account)
