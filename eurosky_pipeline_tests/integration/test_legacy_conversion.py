"""Legacy blobs between real servers: converted and not, there and back, and what the destination makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.blob_refs import BlobRef, find_blob_refs
from eurosky_pipeline.atproto.commit import Commit, verify_signature
from eurosky_pipeline.atproto.keys import parse_document_key
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.identity.document import read_document
from eurosky_pipeline.reconcile.verify import verify_accounts
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc import endpoints
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import RequestRefused
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.integration.activation import activate
from eurosky_pipeline_tests.pipeline import Run, register, run_job

RECORDS, BLOBS, LEGACY = 20, 4, 6
ALL_RECORDS, ALL_BLOBS = RECORDS + LEGACY, BLOBS + LEGACY
UP_TO_THE_IMPORT = ["exported_car", "converted_car", "imported_repo"]
POST = "app.bsky.feed.post"


@pytest.fixture(scope="module")
def registry(sandbox) -> Iterator[Registry]:
    opened = open_registry(load_settings())
    yield opened
    opened.close()


def new_account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=RECORDS, blobs=BLOBS, blob_bytes=9_000, legacy=LEGACY, report=print)


def session(account: SeededAccount, side: Side) -> XrpcClient:
    url = account.source_pds if side is Side.SOURCE else account.destination_pds
    password = account.source_password if side is Side.SOURCE else account.destination_password
    public = XrpcClient(new_http_client(5, HostPolicy(is_private_allowed=True)), url)
    return public.with_authorization(log_in(public, account.did, SecretStr(password)))


class Moved:
    """One account, moved without conversion, with it, without and with it again."""

    def __init__(self, sandbox, registry: Registry) -> None:
        self.account = new_account(sandbox)
        self.source, self.destination = (session(self.account, side) for side in (Side.SOURCE, Side.DESTINATION))
        self.token = register(registry, self.account).token
        self.as_it_is = run_job(registry, self.token, assets=UP_TO_THE_IMPORT)
        self.missing_before = {row.blob_cid for row in endpoints.list_missing_blobs(self.destination)}
        self.converted, self.verified = self._run(registry, is_wanted=True)
        self.missing_after = list(endpoints.list_missing_blobs(self.destination))
        self.car = Path(self.converted.metadata("converted_car")["path"]).read_bytes()
        self.again, _ = self._run(registry, is_wanted=True)
        self.back, self.verified_back = self._run(registry, is_wanted=False)

    def _run(self, registry: Registry, *, is_wanted: bool) -> tuple[Run, Any]:
        registry.override_conversion(self.token, is_wanted=is_wanted)
        run = run_job(registry, self.token)
        assert run.result.success, run.failure_text
        return run, verify_accounts(self.source, self.destination, self.account.did)


@pytest.fixture(scope="module")
def moved(sandbox, registry: Registry) -> Moved:
    return Moved(sandbox, registry)


def refs_of(records: dict[str, Any]) -> list[BlobRef]:
    return list(find_blob_refs(list(records.values())))


def read_back(client: XrpcClient, did: str, folder: Path) -> dict[str, Any]:
    """Every record, by key, as the host's repository has it."""
    path = folder / "read-back.car"
    with endpoints.get_repo(client, did) as download:
        path.write_bytes(b"".join(download.chunks))
    with open_repo(path) as repo:
        return {record.key: record.value for record in repo.records()}


def test_without_the_switch_the_repository_is_imported_as_it_is_and_its_legacy_references_are_counted(moved) -> None:
    metadata = moved.as_it_is.metadata("converted_car")
    assert metadata["legacy_blob_refs"] == LEGACY
    assert metadata["root"] == metadata["exported_root"] == moved.as_it_is.metadata("exported_car")["root"]
    assert "--convert-legacy-blobs" in metadata["warnings"][0]
    assert moved.as_it_is.metadata("imported_repo")["root"] == metadata["root"]
    assert moved.as_it_is.migration.progress_data["legacy_blobs_converted"] is False


def test_the_destination_misses_every_blob_before_the_transfer_and_none_after_it(moved) -> None:
    assert len(moved.missing_before) == ALL_BLOBS
    assert moved.missing_after == []
    assert moved.converted.migration.progress_data["reconciliation_status"] == "complete"
    assert moved.converted.migration.progress_data["reconciliation_expected_blobs"] == ALL_BLOBS


def test_with_the_switch_every_reference_is_converted_and_another_root_is_imported_and_proved(moved) -> None:
    metadata = moved.converted.metadata("converted_car")
    assert (metadata["refs_found"], metadata["refs_converted"], metadata["refs_kept"]) == (LEGACY, LEGACY, 0)
    assert (metadata["sizes_fetched"], metadata["sizes_unknown"]) == (LEGACY, 0)
    assert metadata["records"] == ALL_RECORDS
    assert LEGACY < metadata["records_changed"] < ALL_RECORDS
    assert metadata["strong_refs_rewritten"] > 0
    assert metadata["signature"] == "void"
    assert metadata["root"] != metadata["exported_root"]
    assert metadata["rev"] > moved.converted.metadata("exported_car")["rev"]
    imported = moved.converted.metadata("imported_repo")
    assert imported["root"] == metadata["root"]
    assert (imported["is_skipped"], imported["records_proved"]) == (False, ALL_RECORDS)


def test_the_banner_says_that_nobody_has_signed_and_whose_references_go_stale(moved) -> None:
    metadata = moved.converted.metadata("converted_car")
    assert f"{LEGACY} of {LEGACY} legacy blob references" in metadata["summary"]
    assert "not signed by the account's key" in metadata["about_the_signature"]
    assert "other accounts" in metadata["about_others"]
    assert [row["transform"] for row in metadata["transforms"]] == ["legacy_blobs"]


def test_progress_says_when_the_conversion_was_and_where_its_file_is(moved) -> None:
    progress = moved.converted.migration.progress_data
    assert progress["legacy_blob_conversion_started_at"] <= progress["legacy_blob_conversion_completed_at"]
    assert progress["legacy_blob_conversion_completed_at"].endswith("Z")
    assert progress["legacy_blobs_converted"] is True
    assert progress["converted_car_path"] == moved.converted.metadata("converted_car")["path"]


def test_an_independent_look_finds_the_source_converted_and_nothing_else(moved) -> None:
    assert moved.verified.differences == ()
    assert (moved.verified.records, moved.verified.blobs) == (ALL_RECORDS, ALL_BLOBS)
    assert moved.verified.records_converted == moved.converted.metadata("converted_car")["records_changed"]


def test_the_source_has_not_moved_although_another_root_was_imported(moved) -> None:
    assert moved.converted.migration.progress_data["source_has_moved"] is False


def test_converted_again_it_is_the_same_file_and_nothing_is_sent_twice(moved) -> None:
    assert moved.again.metadata("converted_car")["root"] == moved.converted.metadata("converted_car")["root"]
    assert moved.again.metadata("imported_repo")["is_skipped"] is True
    assert moved.again.metadata("transferred_blobs")["blobs_already_there"] == ALL_BLOBS
    assert moved.again.migration.progress_data["source_has_moved"] is False


def test_without_the_switch_again_the_original_comes_back_and_no_blob_is_sent_twice(moved) -> None:
    metadata = moved.back.metadata("converted_car")
    assert metadata["root"] == metadata["exported_root"]
    assert Path(metadata["path"]).read_bytes() == Path(moved.back.metadata("exported_car")["path"]).read_bytes()
    assert moved.back.metadata("imported_repo")["is_skipped"] is False
    assert moved.back.metadata("transferred_blobs")["blobs_already_there"] == ALL_BLOBS
    assert (moved.verified_back.differences, moved.verified_back.records_converted) == ((), 0)
    progress = moved.back.migration.progress_data
    assert progress["legacy_blobs_converted"] is False
    assert "legacy_blob_conversion_started_at" not in progress
    assert "legacy_blob_conversion_completed_at" not in progress


class AtHome:
    """The same account, converted, and active at the destination: what everybody can ask it."""

    def __init__(self, sandbox, registry: Registry, moved: Moved, folder: Path) -> None:
        registry.override_conversion(moved.token, is_wanted=True)
        assert run_job(registry, moved.token).result.success
        self.did, self.home, self._folder = moved.account.did, moved.destination, folder
        self.plc_url = sandbox.state.plc_url
        activate(sandbox.state, self.did, moved.source, self.home)
        (folder / "sent.car").write_bytes(moved.car)
        with open_repo(folder / "sent.car") as repo:
            self.records = {record.key: record for record in repo.records()}
        self.first_commit = self.commit()

    def get(self, key: str) -> dict[str, Any]:
        collection, _, rkey = key.partition("/")
        return self.home.query("com.atproto.repo.getRecord", {"repo": self.did, "collection": collection, "rkey": rkey})

    def put(self, key: str, value: dict[str, Any]) -> dict[str, Any]:
        collection, _, rkey = key.partition("/")
        body = {"repo": self.did, "collection": collection, "rkey": rkey, "record": value}
        return self.home.procedure("com.atproto.repo.putRecord", body)

    def commit(self) -> Commit:
        path = self._folder / "now.car"
        with endpoints.get_repo(self.home, self.did) as download:
            path.write_bytes(b"".join(download.chunks))
        with open_repo(path) as repo:
            return repo.commit


@pytest.fixture(scope="module")
def at_home(sandbox, registry: Registry, moved: Moved, tmp_path_factory: pytest.TempPathFactory) -> AtHome:
    return AtHome(sandbox, registry, moved, tmp_path_factory.mktemp("home"))


def test_every_record_of_a_converted_account_is_readable_at_its_new_home(at_home: AtHome) -> None:
    listed: dict[str, str] = {}
    for collection in {record.collection for record in at_home.records.values()}:
        asked = {"repo": at_home.did, "collection": collection, "limit": 100}
        for row in at_home.home.query("com.atproto.repo.listRecords", asked)["records"]:
            listed[row["uri"].removeprefix(f"at://{at_home.did}/")] = row["cid"]
    assert listed == {key: str(record.cid) for key, record in at_home.records.items()}
    assert {key: at_home.get(key)["cid"] for key in listed} == listed


def test_typed_blobs_are_accepted_when_their_records_are_written_again(at_home: AtHome) -> None:
    legacy_era = sorted(key for key in at_home.records if key.startswith(POST))[:LEGACY]
    for key in legacy_era:
        value = at_home.get(key)["value"]
        assert '"$type": "blob"' in json.dumps(value)
        same = at_home.put(key, value)
        assert (same["cid"], same["validationStatus"]) == (str(at_home.records[key].cid), "valid")
        assert at_home.put(key, {**value, "text": "edited"})["validationStatus"] == "valid"
    assert list(endpoints.list_missing_blobs(at_home.home)) == []


def test_the_first_write_at_the_new_home_signs_the_repository(at_home: AtHome) -> None:
    assert at_home.first_commit.is_signature_void
    endpoints.apply_writes(at_home.home, at_home.did, [])
    document = httpx.get(f"{at_home.plc_url}/{at_home.did}", trust_env=False).json()
    key = read_document(at_home.did, document).signing_key
    assert key is not None
    verify_signature(at_home.commit(), parse_document_key(key.type, key.public_key_multibase))


class Lost:
    """An account one of whose legacy blobs the source has lost, under each policy, and without conversion."""

    def __init__(self, sandbox, registry: Registry, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.account = new_account(sandbox)
        self.destination = session(self.account, Side.DESTINATION)
        self.token = register(registry, self.account, convert_legacy_blobs=True).token
        source = session(self.account, Side.SOURCE)
        legacy = {ref.blob_cid for ref in refs_of(read_back(source, self.account.did, folder)) if ref.is_legacy}
        self.lost = min(legacy)
        (sandbox.home / "sandbox" / "source" / "blobs" / self.account.did / str(self.lost)).unlink()
        monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "fail")
        self.failed = run_job(registry, self.token)
        self.files_after_failure = sorted(path.name for path in (sandbox.home / "artifacts" / self.token).iterdir())
        monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "keep")
        self.kept = run_job(registry, self.token, assets=UP_TO_THE_IMPORT)
        self.kept_records = read_back(self.destination, self.account.did, folder)
        monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "sentinel")
        self.sentinel = run_job(registry, self.token, assets=UP_TO_THE_IMPORT)
        self.sentinel_records = read_back(self.destination, self.account.did, folder)
        monkeypatch.setenv("UNKNOWN_BLOB_SIZE", "fail")
        self.failed_again = run_job(registry, self.token)
        self.resumed = registry.retry(self.token)
        registry.override_conversion(self.token, is_wanted=False)
        self.without = run_job(registry, self.token)
        self.verified = verify_accounts(source, self.destination, self.account.did)


@pytest.fixture(scope="module")
def lost(sandbox, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Lost:
    with pytest.MonkeyPatch.context() as patch:
        return Lost(sandbox, registry, patch, tmp_path_factory.mktemp("lost"))


def test_policy_fail_ends_the_migration_with_a_code_and_keeps_the_original(lost: Lost) -> None:
    assert not lost.failed.result.success
    assert (lost.failed.migration.state, lost.failed.migration.error_code) == (State.FAILED, "blob_size_unknown")
    assert str(lost.lost) in lost.failed.failure_text
    assert lost.files_after_failure == ["account.car", "account.car.sha256"]
    assert "legacy_blob_conversion_completed_at" not in lost.failed.migration.progress_data


def test_policy_keep_leaves_the_one_reference_as_it_is_and_says_why(lost: Lost) -> None:
    metadata = lost.kept.metadata("converted_car")
    assert (metadata["refs_converted"], metadata["refs_kept"]) == (LEGACY - 1, 1)
    assert (metadata["sizes_fetched"], metadata["sizes_unknown"]) == (LEGACY - 1, 1)
    assert "1 legacy blob references are kept" in metadata["warnings"][0]
    assert ["Blob not found" in row["why"] for row in metadata["blobs_without_size"]] == [True]
    assert [ref.blob_cid for ref in refs_of(lost.kept_records) if ref.is_legacy] == [lost.lost]


def test_policy_sentinel_is_a_size_of_minus_one_that_the_reference_pds_imports(lost: Lost) -> None:
    metadata = lost.sentinel.metadata("converted_car")
    assert (metadata["refs_converted"], metadata["refs_kept"]) == (LEGACY, 0)
    assert "-1" in metadata["warnings"][0]
    assert lost.sentinel.metadata("imported_repo")["records_proved"] == ALL_RECORDS
    sizes = {ref.blob_cid: ref.size_bytes for ref in refs_of(lost.sentinel_records)}
    assert not any(ref.is_legacy for ref in refs_of(lost.sentinel_records))
    assert sizes[lost.lost] is None  # a size that is none
    assert '"size": -1' in json.dumps(lost.sentinel_records, default=str)


def test_a_failed_migration_is_retried_without_conversion_where_it_stopped(lost: Lost) -> None:
    assert lost.failed_again.migration.stopped_in is State.PENDING_BLOBS
    assert (lost.resumed.state, lost.resumed.error_code) == (State.PENDING_BLOBS, None)
    assert lost.without.result.success
    assert lost.without.migration.state is State.PENDING_PREFS
    metadata = lost.without.metadata("converted_car")
    assert metadata["root"] == metadata["exported_root"]
    progress = lost.without.migration.progress_data
    assert progress["reconciliation_status"] == "partial"
    assert progress["failed_blobs"] == [str(lost.lost)]
    assert lost.verified.records_converted == 0
    (difference,) = lost.verified.differences
    assert difference.startswith(f"blob {lost.lost}")


def test_the_reference_pds_takes_no_write_of_a_record_with_a_sentinel_or_a_legacy_reference(lost: Lost) -> None:
    """Why the one is not the default, and the other is no way to write."""
    source = session(lost.account, Side.SOURCE)
    for ref in (
        {"$type": "blob", "ref": {"$link": str(lost.lost)}, "mimeType": "image/png", "size": -1},
        {"cid": str(lost.lost), "mimeType": "image/png"},
    ):
        embed = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": ref}]}
        post = {"$type": POST, "text": "new", "createdAt": "2024-01-01T00:00:00Z", "embed": embed}
        with pytest.raises(RequestRefused, match="Expected blob value type"):
            source.procedure(
                "com.atproto.repo.createRecord", {"repo": lost.account.did, "collection": POST, "record": post}
            )
