"""A seeded account as the real servers have it: counted, read back, and compared with what was asked for."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.blob_refs import BlobRef, find_blob_refs
from eurosky_pipeline.atproto.repo import Record, RepoFile, open_repo
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.xrpc import endpoints
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import RepoUnavailable
from eurosky_pipeline.xrpc.session import log_in

RECORDS, BLOBS, LEGACY = 80, 15, 5


@pytest.fixture(scope="module")
def account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=RECORDS, blobs=BLOBS, blob_bytes=20_000, legacy=LEGACY, report=print)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        yield client


@pytest.fixture(scope="module")
def source(http: httpx.Client, account: SeededAccount) -> XrpcClient:
    return XrpcClient(http, account.source_pds)


@pytest.fixture(scope="module")
def repo(source: XrpcClient, account: SeededAccount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RepoFile]:
    path = tmp_path_factory.mktemp("seed") / "account.car"
    with endpoints.get_repo(source, account.did) as download, path.open("wb") as file:
        file.writelines(download.chunks)
    with open_repo(path) as repo:
        yield repo


@pytest.fixture(scope="module")
def records(repo: RepoFile) -> list[Record]:
    return list(repo.records())


@pytest.fixture(scope="module")
def refs(records: list[Record]) -> list[BlobRef]:
    return [ref for record in records for ref in find_blob_refs(record.value)]


def test_records_are_as_many_as_asked_for(records: list[Record]) -> None:
    assert len(records) == RECORDS + LEGACY
    collections = Counter(record.collection for record in records)
    assert collections["app.bsky.actor.profile"] == 1
    assert collections["app.bsky.feed.post"] > RECORDS / 3
    assert collections["app.bsky.feed.like"] > 0


def test_blobs_are_as_many_as_asked_for_and_all_named(
    source: XrpcClient, account: SeededAccount, refs: list[BlobRef]
) -> None:
    listed = list(endpoints.list_blobs(source, account.did))
    assert len(listed) == len(set(listed)) == BLOBS + LEGACY
    assert set(listed) == {ref.blob_cid for ref in refs}
    assert len({ref.blob_cid for ref in refs if ref.is_legacy}) == LEGACY
    assert len({ref.blob_cid for ref in refs if not ref.is_legacy}) == BLOBS


def test_some_blob_is_named_by_two_records(records: list[Record]) -> None:
    named = Counter(cid for record in records for cid in {ref.blob_cid for ref in find_blob_refs(record.value)})
    assert max(named.values()) >= 2


def test_every_blob_is_there_as_its_record_says(
    source: XrpcClient, account: SeededAccount, refs: list[BlobRef]
) -> None:
    sizes, mime_types = {}, set()
    for ref in refs:
        with endpoints.get_blob(source, account.did, ref.blob_cid) as download:
            content = b"".join(download.chunks)
            assert download.mime_type == ref.mime_type
        assert hashlib.sha256(content).digest() == ref.blob_cid.digest
        assert ref.is_legacy or ref.size_bytes == len(content)
        sizes[ref.blob_cid] = len(content)
        mime_types.add(ref.mime_type)
    assert sum(size > 5 * 1024 * 1024 for size in sizes.values()) == 1
    assert {"image/jpeg", "image/png", "image/webp", "image/gif", "video/mp4"} < mime_types


def test_the_source_has_signed_the_repo_with_the_legacy_posts_in_it(repo: RepoFile) -> None:
    assert not repo.commit.is_signature_void


def test_the_source_account_is_active_and_named_by_the_plc_directory(
    http: httpx.Client, source: XrpcClient, account: SeededAccount
) -> None:
    session = log_in(source, account.did, SecretStr(account.source_password))
    status = endpoints.check_account_status(source.with_authorization(session))
    assert status.is_activated
    assert status.indexed_records == RECORDS + LEGACY
    assert status.expected_blobs == status.imported_blobs == BLOBS + LEGACY
    document = http.get(f"{account.plc_url}/{account.did}").json()
    assert document["alsoKnownAs"] == [f"at://{account.handle}"]
    assert document["service"][0]["serviceEndpoint"] == account.source_pds


def test_the_destination_account_waits_deactivated_and_empty(http: httpx.Client, account: SeededAccount) -> None:
    destination = XrpcClient(http, account.destination_pds)
    session = log_in(destination, account.did, SecretStr(account.destination_password))
    status = endpoints.check_account_status(destination.with_authorization(session))
    assert not status.is_activated
    assert (status.indexed_records, status.expected_blobs) == (0, 0)
    with pytest.raises(RepoUnavailable), endpoints.get_repo(destination, account.did):
        pass


def test_accounts_differ_in_name_and_password(sandbox, account: SeededAccount, tmp_path: Path) -> None:
    other = seed(sandbox.state, records=1, blobs=0, blob_bytes=0, report=print)
    assert other.did != account.did
    assert other.handle != account.handle
    passwords = [a.source_password for a in (account, other)] + [a.destination_password for a in (account, other)]
    assert len(set(passwords)) == 4
