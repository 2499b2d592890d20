"""What an account is seeded with, before any server has seen it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.syntax import is_repo_path, is_tid
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.sandbox import seed as seed_module
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.sandbox.seed_blobs import BIG_BLOB_BYTES, MAX_PICTURE_BYTES, plan_blobs
from eurosky_pipeline.sandbox.seed_records import (
    BLOBS_PER_RECORD,
    SeedRecord,
    account_records,
    as_json,
    legacy_posts,
)
from eurosky_pipeline.sandbox.servers import new_pds_secrets
from eurosky_pipeline.sandbox.state import SandboxState, ServerState
from eurosky_pipeline.xrpc.endpoints import UploadedBlob

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
MB = 1024 * 1024


def fake_blobs(count: int, *, size_bytes: int = 1_000) -> list[UploadedBlob]:
    """Blobs that nobody has made, of the kinds that a plan of that size has."""
    plan = plan_blobs(count, mean_bytes=size_bytes, limit_bytes=100 * MB, seed="test")
    return [
        UploadedBlob(cid_of(index.to_bytes(4), 0x55), blob.mime_type, blob.size_bytes)
        for index, blob in enumerate(plan)
    ]


def strong_refs(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        own = [value] if value.keys() == {"uri", "cid"} else []
        return own + [ref for item in value.values() for ref in strong_refs(item)]
    if isinstance(value, list):
        return [ref for item in value for ref in strong_refs(item)]
    return []


def named_blobs(records: list[SeedRecord]) -> list[list[Cid]]:
    return [[ref.blob_cid for ref in find_blob_refs(record.value)] for record in records]


def test_sizes_spread_around_the_mean() -> None:
    sizes = sorted(blob.size_bytes for blob in plan_blobs(200, mean_bytes=50_000, limit_bytes=100 * MB, seed="a"))
    assert sizes[-1] == BIG_BLOB_BYTES > 5 * MB
    assert 45_000 < sum(sizes[:-1]) / 199 < 55_000
    assert sizes[20] < 25_000
    assert sizes[180] > 80_000


def test_blobs_are_distinct_of_many_kinds_and_the_same_each_time() -> None:
    plan = plan_blobs(60, mean_bytes=2_000, limit_bytes=100 * MB, seed="a")
    assert plan == plan_blobs(60, mean_bytes=2_000, limit_bytes=100 * MB, seed="a")
    facts = [blob.facts() for blob in plan]
    assert len({fact.blob_cid for fact in facts}) == 60
    assert len({fact.mime_type for fact in facts}) == 6
    other = plan_blobs(60, mean_bytes=2_000, limit_bytes=100 * MB, seed="b")
    assert not {fact.blob_cid for fact in facts} & {blob.facts().blob_cid for blob in other}


def test_facts_are_those_of_the_bytes() -> None:
    (blob,) = plan_blobs(1, mean_bytes=3_000, limit_bytes=100 * MB, seed="a")
    content = b"".join(blob.pieces())
    assert (blob.facts().blob_cid, blob.facts().size_bytes) == (cid_of(content, 0x55), len(content))


@pytest.mark.parametrize("limit_bytes", [600, 5 * MB, BIG_BLOB_BYTES - 1])
def test_no_blob_is_larger_than_the_pds_takes(limit_bytes: int) -> None:
    sizes = [blob.size_bytes for blob in plan_blobs(50, mean_bytes=limit_bytes, limit_bytes=limit_bytes, seed="a")]
    assert max(sizes) <= limit_bytes


def test_only_pictures_where_only_pictures_may_be() -> None:
    plan = plan_blobs(20, mean_bytes=MAX_PICTURE_BYTES, limit_bytes=MAX_PICTURE_BYTES, seed="a", has_only_pictures=True)
    assert all(blob.mime_type.startswith("image/") and blob.size_bytes <= MAX_PICTURE_BYTES for blob in plan)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(1, 120), st.sampled_from([1_000, 3_000_000]))
def test_counts_are_exact_whatever_is_asked_for(data: st.DataObject, count: int, size_bytes: int) -> None:
    blobs = fake_blobs(data.draw(st.integers(0, BLOBS_PER_RECORD * (count - 1))), size_bytes=size_bytes)
    records = account_records(DID, count, blobs, [], "test")
    assert len({record.key for record in records}) == len(records) == count
    named = named_blobs(records)
    assert {cid for cids in named for cid in cids} == {blob.blob_cid for blob in blobs}
    assert max(map(len, named)) <= BLOBS_PER_RECORD


@pytest.mark.parametrize("size_bytes", [1_000, 3_000_000])
def test_with_room_some_blobs_are_named_by_two_records(size_bytes: int) -> None:
    named = named_blobs(account_records(DID, 100, fake_blobs(60, size_bytes=size_bytes), [], "test"))
    counts = [sum(blob.blob_cid in cids for cids in named) for blob in fake_blobs(60)]
    assert counts.count(2) >= 4


def test_records_are_a_life() -> None:
    records = account_records(DID, 300, fake_blobs(60), [], "test")
    collections = [record.collection for record in records]
    kinds = ("feed.post", "feed.like", "feed.repost", "graph.follow", "actor.profile")
    assert all(f"app.bsky.{kind}" in collections for kind in kinds)
    assert collections.count("app.bsky.actor.profile") == 1
    assert any("reply" in record.value for record in records)
    texts = [record.value.get("text", "") for record in records]
    assert any(not text.isascii() for text in texts)
    posts = [record.value for record in records if record.collection == "app.bsky.feed.post"]
    assert min(len(p["embed"]["images"]) for p in posts if "images" in p.get("embed", {})) >= 1
    assert len({post["langs"][0] for post in posts}) > 5
    for post in posts:
        for facet in post.get("facets", []):
            start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
            assert post["text"].encode()[start:end] == b"#eurosky"


def test_strong_references_name_records_as_they_are() -> None:
    old = legacy_posts(DID, fake_blobs(10), "test")
    records = old + account_records(DID, 300, fake_blobs(60), old, "test")
    cid_by_uri = {f"at://{DID}/{record.key}": str(record.cid) for record in records}
    refs = [ref for record in records for ref in strong_refs(record.value)]
    assert len(refs) > 80
    assert all(cid_by_uri[ref["uri"]] == ref["cid"] for ref in refs)
    assert any(ref["uri"] == f"at://{DID}/{post.key}" for post in old for ref in refs)


def test_replies_know_the_first_post_of_their_thread() -> None:
    records = account_records(DID, 400, [], [], "test")
    replies = {f"at://{DID}/{r.key}": r.value["reply"] for r in records if "reply" in r.value}
    deep = [reply for reply in replies.values() if reply["parent"]["uri"] in replies]
    assert deep
    assert all(reply["root"] == replies[reply["parent"]["uri"]]["root"] for reply in deep)
    assert all(reply["root"]["uri"] not in replies for reply in replies.values())


def test_records_are_canonical_and_their_keys_valid() -> None:
    for record in account_records(DID, 60, fake_blobs(20), [], "test"):
        assert is_repo_path(record.key)
        assert is_tid(record.rkey) or record.rkey == "self"
        assert dag_cbor.decode(record.block) == record.value
        assert record.value["$type"] == record.collection


def test_the_same_seed_gives_the_same_account_but_for_its_did() -> None:
    first = account_records(DID, 80, fake_blobs(9), [], "test")
    assert first == account_records(DID, 80, fake_blobs(9), [], "test")
    second = account_records(DID.replace("a", "b"), 80, fake_blobs(9), [], "test")
    assert [record.key for record in first] == [record.key for record in second]
    same = [one == other for one, other in zip(first, second, strict=True)]
    assert same == [not strong_refs(record.value) for record in first]
    assert first != account_records(DID, 80, fake_blobs(9), [], "other")


def test_legacy_posts_name_their_picture_in_the_old_form_and_no_other_way() -> None:
    pictures = fake_blobs(6)
    posts = legacy_posts(DID, pictures, "test")
    refs = [list(find_blob_refs(post.value)) for post in posts]
    assert [[(ref.blob_cid, ref.is_legacy) for ref in own] for own in refs] == [[(p.blob_cid, True)] for p in pictures]
    assert sum(bool(strong_refs(post.value)) for post in posts) == 3
    younger = account_records(DID, 20, [], [], "test")
    assert max(post.rkey for post in posts) < min(record.rkey for record in younger if is_tid(record.rkey))


def test_json_has_links_where_cbor_has_cids() -> None:
    cid = cid_of(b"x")
    assert as_json({"a": [cid, 1, None, "é"]}) == {"a": [{"$link": str(cid)}, 1, None, "é"]}


def test_batches_keep_to_the_limit_and_never_name_a_blob_twice() -> None:
    records = account_records(DID, 700, fake_blobs(150), [], "test")
    batches = list(seed_module._batches(records))
    assert [record for batch in batches for record in batch] == records
    assert max(map(len, batches)) == 200
    for batch in batches:
        named = [cid for cids in named_blobs(batch) for cid in cids]
        assert len(named) == len(set(named))


@pytest.fixture
def stopped(tmp_path: Path) -> SandboxState:
    plc, source, destination = (
        ServerState(name, 20_000 + n, None, tmp_path / name) for n, name in enumerate(("plc", "source", "destination"))
    )
    return SandboxState(tmp_path, plc, source, destination, new_pds_secrets(), new_pds_secrets())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": 0}, "at least 1 record"),
        ({"blobs": -1}, "cannot be -1 blobs"),
        ({"legacy": -1}, "-1 legacy references"),
        ({"damaged_blobs": -1}, "of 5 blobs, -1 cannot be damaged"),
        ({"damaged_blobs": 6, "legacy": 1}, "of 5 blobs, 6 cannot be damaged"),
        ({"records": 1, "blobs": 1}, "1 records have room for 0 blobs"),
        ({"records": 5, "blobs": 17}, "room for 16 blobs"),
        ({"blob_bytes": 511}, "between 512 bytes"),
        ({"blob_bytes": 100 * MB + 1}, "upload limit, 104857600"),
        ({}, "the sandbox is not running"),
        ({"blobs": 0, "legacy": 0, "blob_bytes": 0}, "the sandbox is not running"),
    ],
)
def test_arguments_are_checked_before_anything_is_done(
    stopped: SandboxState, arguments: dict[str, int], message: str
) -> None:
    good = {"records": 10, "blobs": 5, "blob_bytes": 1_000, "legacy": 0}
    with pytest.raises(SettingsError, match=message):
        seed(stopped, **(good | arguments), report=print)


def test_the_hint_names_a_number_of_records_that_will_do(stopped: SandboxState) -> None:
    with pytest.raises(SettingsError) as caught:
        seed(stopped, records=5, blobs=17, blob_bytes=1_000, report=print)
    assert "at least 6 records" in caught.value.hint


def test_no_password_is_in_a_repr() -> None:
    account = SeededAccount(
        DID, "a.test", "http://localhost:1", "http://localhost:2", "one", "two", "http://localhost:3"
    )
    assert "one" not in repr(account)
    assert "two" not in repr(account)
