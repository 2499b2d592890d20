"""The independent look: it must see every kind of loss, or it proves nothing."""

from __future__ import annotations

import pytest

from eurosky_pipeline.reconcile.verify import Verification, verify_accounts
from eurosky_pipeline_tests.builders import DID, make_blob_ref, make_post, make_posts, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

PICTURE = b"a picture"
POSTS = make_posts(5)
RECORDS = {**POSTS, "app.bsky.feed.post/3zzzzzzzzzzzz": make_post(embed=make_blob_ref(PICTURE))}


@pytest.fixture
def source() -> FakePds:
    return server("old.example")


@pytest.fixture
def destination() -> FakePds:
    return server("new.example")


def server(name: str) -> FakePds:
    pds = FakePds(name, repo=make_repo_car(RECORDS))
    cid = pds.put(PICTURE)
    pds.faults["listBlobs"] = lambda _: json_answer({"cids": [str(cid)]})
    return pds


def look(source: FakePds, destination: FakePds) -> Verification:
    return verify_accounts(source.client, destination.client, DID)


def test_equal_accounts_are_equal(source: FakePds, destination: FakePds) -> None:
    found = look(source, destination)
    assert found.is_equal
    assert (found.records, found.blobs, found.blob_bytes) == (6, 1, len(PICTURE))


def test_a_lost_record_is_named(source: FakePds, destination: FakePds) -> None:
    lost = min(POSTS)
    destination.repo = make_repo_car({key: value for key, value in RECORDS.items() if key != lost})
    assert look(source, destination).differences == (f"record {lost} is missing or differs",)


def test_a_changed_record_is_named_once(source: FakePds, destination: FakePds) -> None:
    changed = min(POSTS)
    destination.repo = make_repo_car({**RECORDS, changed: make_post("other")})
    assert look(source, destination).differences == (f"record {changed} is missing or differs",)


def test_a_lost_blob_is_named(source: FakePds, destination: FakePds) -> None:
    destination.blobs.clear()
    (difference,) = look(source, destination).differences
    assert difference.startswith("blob bafkrei")
    assert "new.example answered 400" in difference


def test_a_blob_with_other_bytes_is_named(source: FakePds, destination: FakePds) -> None:
    cid = next(iter(destination.blobs))
    destination.blobs[cid] = (b"b picture", "image/png")
    assert look(source, destination).differences == (f"blob {cid}: the two servers give different bytes",)


def test_two_servers_with_the_same_wrong_bytes_do_not_pass(source: FakePds, destination: FakePds) -> None:
    cid = next(iter(destination.blobs))
    source.blobs[cid] = destination.blobs[cid] = (b"b picture", "image/png")
    assert not look(source, destination).is_equal
