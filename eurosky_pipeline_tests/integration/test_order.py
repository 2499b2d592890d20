"""Assets in odd orders, and accounts that change between two runs: nothing is called done that is not."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.transfer.presence import each_presence
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import apply_writes
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.pipeline import register, run_job

PICTURE = b"\x89PNG\r\n\x1a\n a picture that came late"


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=20, blobs=4, blob_bytes=9_000, report=print)


def session(account: SeededAccount, side: Side) -> XrpcClient:
    url = account.source_pds if side is Side.SOURCE else account.destination_pds
    password = account.source_password if side is Side.SOURCE else account.destination_password
    public = XrpcClient(new_http_client(5, HostPolicy(is_private_allowed=True)), url)
    return public.with_authorization(log_in(public, account.did, SecretStr(password)))


def upload(client: XrpcClient, data: bytes) -> dict:
    """The blob reference that the server answers with."""
    token = client._authorization.access_token()
    answer = httpx.post(
        f"{client.base_url}/xrpc/com.atproto.repo.uploadBlob",
        content=data,
        headers={"authorization": f"Bearer {token}", "content-type": "image/png"},
    )
    return answer.raise_for_status().json()["blob"]


def write_post(account: SeededAccount, image: dict | None = None) -> None:
    """A post at the source, after an export."""
    value: dict = {"$type": "app.bsky.feed.post", "text": "written late", "createdAt": "2024-01-01T00:00:00Z"}
    if image:
        value["embed"] = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": image}]}
    create = {"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": value}
    apply_writes(session(account, Side.SOURCE), account.did, [create])


def test_a_report_before_the_import_is_refused(registry: Registry, account: SeededAccount) -> None:
    token = register(registry, account).token
    run = run_job(registry, token, assets=["exported_car", "converted_car", "blob_manifest", "reconciliation_report"])
    assert run.migration.error_code == "repo_not_imported"
    assert "reconciliation_status" not in run.migration.progress_data


def test_a_blob_that_was_uploaded_before_its_record_is_sent_again(registry: Registry, account: SeededAccount) -> None:
    token = register(registry, account).token
    assert run_job(registry, token).migration.state is State.PENDING_PREFS
    cid = cid_of(PICTURE, CODEC_RAW)
    image = upload(session(account, Side.SOURCE), PICTURE)
    upload(session(account, Side.DESTINATION), PICTURE)  # too early: no record there references it yet
    accepted = BlobOutcome(cid, Outcome.TRANSFERRED, size_bytes=len(PICTURE), mime_type="image/png")
    registry.record(token, {}, [accepted])  # as a run does whose list of blobs was newer than its export
    write_post(account, image)

    run = run_job(registry, token)
    assert run.metadata("transferred_blobs")["blobs_already_there"] == 4
    assert run.migration.progress_data["reconciliation_recovered"] == 0
    assert run.migration.progress_data["reconciliation_status"] == "complete"
    assert run.migration.progress_data["blobs_completed"] == 5
    (found,) = each_presence(session(account, Side.DESTINATION), account.did, [cid], workers=1, stop=_never())
    assert found.is_there


def test_a_blob_that_neither_server_has_is_never_matched(registry: Registry, sandbox, account: SeededAccount) -> None:
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account.did
    lost = min(path for path in folder.iterdir() if path.is_file())
    upload(session(account, Side.DESTINATION), lost.read_bytes())  # so that the destination does not list it as missing
    lost.unlink()
    run = run_job(registry, register(registry, account).token)
    assert run.migration.progress_data["reconciliation_status"] == "partial"
    assert run.migration.progress_data["failed_blobs"] == [lost.name]


def test_a_new_export_makes_what_was_made_from_the_old_one_void(registry: Registry, account: SeededAccount) -> None:
    token = register(registry, account).token
    assert run_job(registry, token, assets=["exported_car", "converted_car", "blob_manifest"]).result.success
    write_post(account)
    assert run_job(registry, token, assets=["exported_car"]).result.success
    run = run_job(registry, token, assets=["imported_repo"])
    assert run.migration.error_code == "input_missing"


def test_a_source_that_went_on_is_told_and_a_second_run_brings_the_rest(
    registry: Registry, account: SeededAccount
) -> None:
    token = register(registry, account).token
    before = ["exported_car", "converted_car", "blob_manifest", "imported_repo", "transferred_blobs"]
    assert run_job(registry, token, assets=before).result.success
    write_post(account)
    run = run_job(registry, token, assets=["reconciliation_report"])
    assert run.migration.progress_data["source_has_moved"] is True
    assert "has moved on since the export" in run.metadata("reconciliation_report")["summary"]
    again = run_job(registry, token)
    assert again.metadata("imported_repo")["records_proved"] == 21
    assert again.migration.progress_data["source_has_moved"] is False


def test_a_newer_repository_takes_the_verdict_back_until_its_blobs_are_done(
    registry: Registry, account: SeededAccount
) -> None:
    token = register(registry, account).token
    assert run_job(registry, token).migration.state is State.PENDING_PREFS
    write_post(account)
    run = run_job(registry, token, assets=["exported_car", "converted_car", "imported_repo"])
    assert run.result.success
    assert run.migration.state is State.PENDING_BLOBS
    assert "reconciliation_status" not in run.migration.progress_data


def test_a_step_that_fails_beside_another_stays_the_reason(
    registry: Registry, account: SeededAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eurosky_pipeline_tests.integration.test_bad_input import run_allowed
    from eurosky_pipeline_tests.stub_pds import Answer, stub_pds

    monkeypatch.setenv("EUROSKY_MAX_WAIT_S", "0")
    with httpx.Client(timeout=60) as http:
        car = http.get(f"{account.source_pds}/xrpc/com.atproto.sync.getRepo", params={"did": account.did}).content
    with stub_pds() as source:
        source.routes["com.atproto.sync.getRepo"] = lambda _: Answer(car)
        source.routes["com.atproto.sync.listBlobs"] = lambda _: Answer.of_json({"error": "InternalServerError"}, 500)
        run = run_allowed(registry, SeededAccount(**{**_fields(account), "source_pds": source.url}))
    assert not run.result.success
    assert (run.migration.state, run.migration.error_code) == (State.FAILED, "server_fault")
    assert "listBlobs" in run.migration.error_text


def _fields(account: SeededAccount) -> dict[str, str]:
    return {name: getattr(account, name) for name in SeededAccount.__dataclass_fields__}


def _never():
    import threading

    return threading.Event()
