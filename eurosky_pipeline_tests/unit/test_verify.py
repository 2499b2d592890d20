"""The independent look: it must see every kind of loss, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.reconcile.verify import Verification, verify_accounts
from eurosky_pipeline.transfer.progress import SilentProgress
from eurosky_pipeline_tests.builders import (
    DID,
    OTHER_DID,
    make_blob_ref,
    make_block,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo_car,
    make_strong_ref,
)
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


CID = make_blob_ref(PICTURE)["ref"]


def look_for_lost(source: FakePds, destination: FakePds, *damaged: Cid) -> Verification:
    return verify_accounts(source.client, destination.client, DID, damaged=damaged or [CID])


@pytest.mark.parametrize(
    "damage",
    [
        lambda pds: pds.blobs.clear(),
        lambda pds: pds.blobs.update({str(CID): (b"b picture", "image/png")}),
        lambda pds: pds.faults.update(getBlob=lambda _: json_answer({"message": "Blob has been takendown"}, 400)),
    ],
    ids=["lost", "corrupt", "taken down"],
)
def test_a_blob_that_was_damaged_may_be_lost_and_is_counted(
    source: FakePds, destination: FakePds, damage: Callable[[FakePds], None]
) -> None:
    damage(source)
    destination.blobs.clear()
    found = look_for_lost(source, destination)
    assert (found.differences, found.blobs_lost, found.blobs, found.blob_bytes) == ((), 1, 1, 0)


class _Summary(SilentProgress):
    """What the stage said at its end."""

    def end(self, stage: str, summary: str) -> None:
        self.said = f"{stage}: {summary}"


def test_the_stage_ends_with_what_was_compared(source: FakePds, destination: FakePds) -> None:
    progress = _Summary()
    verify_accounts(source.client, destination.client, DID, progress=progress)
    assert progress.said == "verified: 6 records, 1 blobs"
    source.blobs.clear()
    destination.blobs.clear()
    verify_accounts(source.client, destination.client, DID, damaged=[CID], progress=progress)
    assert progress.said == "verified: 6 records, 0 blobs, beside 1 that cannot be had"


def test_a_damaged_blob_that_the_source_gives_whole_is_a_difference(source: FakePds, destination: FakePds) -> None:
    destination.blobs.clear()
    found = look_for_lost(source, destination)
    assert found.differences == (f"blob {CID}: damaged, and the source gives it whole",)
    assert found.blobs_lost == 0


@pytest.mark.parametrize("content", [PICTURE, b"b picture"])
def test_a_damaged_blob_of_which_the_destination_has_anything_is_a_difference(
    source: FakePds, destination: FakePds, content: bytes
) -> None:
    source.blobs.clear()
    destination.blobs[str(CID)] = (content, "image/png")
    assert look_for_lost(source, destination).differences == (f"blob {CID}: damaged, and the destination has it",)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_server_that_fails_does_not_prove_that_a_damaged_blob_is_lost(
    source: FakePds, destination: FakePds, side: str
) -> None:
    source.blobs.clear()
    destination.blobs.clear()
    servers = {"source": source, "destination": destination}
    servers[side].faults["getBlob"] = lambda _: json_answer({"error": "InternalServerError"}, 500)
    found = look_for_lost(source, destination)
    assert (len(found.differences), found.blobs_lost) == (1, 0)


def test_a_blob_that_is_lost_and_was_not_damaged_is_a_difference(source: FakePds, destination: FakePds) -> None:
    source.blobs.clear()
    destination.blobs.clear()
    other = make_blob_ref(b"another")["ref"]
    first, second = look_for_lost(source, destination, other).differences
    assert first == f"blob {other}: damaged, and neither server knows of it"
    assert second.startswith(f"blob {CID}: ")


LEGACY_KEY, LIKE_KEY, REPLY_KEY = (f"app.bsky.feed.{kind}/3jzfcijpj2z2b" for kind in ("post", "like", "repost"))


def chain(image: dict[str, Any], like_of: Any = None, **more: Any) -> dict[str, Any]:
    """A post with an image, a like of it, and a repost of that like; each strong reference right, unless given."""
    post = make_post(image=image)
    like = {"subject": like_of or make_strong_ref(LEGACY_KEY, make_block(post)[0])}
    repost = {"subject": make_strong_ref(LIKE_KEY, make_block(like)[0])}
    return {**RECORDS, LEGACY_KEY: post, LIKE_KEY: like, REPLY_KEY: repost, **more}


BEFORE = chain(make_legacy_blob_ref(PICTURE, "image/png"))
AFTER = chain(make_blob_ref(PICTURE))


def converted(
    source: FakePds,
    destination: FakePds,
    after: dict[str, Any],
    before: dict[str, Any] = BEFORE,
    *,
    is_sentinel_allowed: bool = False,
) -> Verification:
    source.repo, destination.repo = make_repo_car(before), make_repo_car(after)
    return verify_accounts(source.client, destination.client, DID, is_sentinel_allowed=is_sentinel_allowed)


def test_a_converted_account_is_equal_and_its_converted_records_are_counted(
    source: FakePds, destination: FakePds
) -> None:
    found = converted(source, destination, AFTER)
    assert found.differences == ()
    assert (found.records, found.records_converted, found.blobs) == (9, 3, 1)


def ref(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (make_blob_ref(PICTURE) | changes).items() if value is not None}


OTHER_CID = make_block({"other": 1})[0]


@pytest.mark.parametrize(
    "after",
    [
        chain(ref(mimeType="image/jpeg")),
        chain(ref(ref=OTHER_CID)),
        chain(ref(ref=str(make_blob_ref(PICTURE)["ref"]))),
        chain(ref(ref=bytes(make_blob_ref(PICTURE)["ref"]))),
        chain(ref(size=None)),
        chain(ref(size="9")),
        chain(ref(size=True)),
        chain(ref(alt="more")),
        chain(ref(**{"$type": None})),
        chain(ref(**{"$type": "image"})),
        chain(make_legacy_blob_ref(PICTURE, "image/gif")),
        AFTER | {LEGACY_KEY: AFTER[LEGACY_KEY] | {"text": "edited"}},
        AFTER | {LEGACY_KEY: AFTER[LEGACY_KEY] | {"more": 1}},
        AFTER | {LEGACY_KEY: {"image": AFTER[LEGACY_KEY]["image"]}},
        AFTER | {LEGACY_KEY: AFTER[LEGACY_KEY] | {"image": [AFTER[LEGACY_KEY]["image"]]}},
    ],
    ids=range(15),
)
def test_a_conversion_that_changes_anything_else_is_a_difference(
    source: FakePds, destination: FakePds, after: dict[str, Any]
) -> None:
    found = converted(source, destination, after)
    assert f"record {LEGACY_KEY} is missing or differs" in found.differences


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"subject": make_strong_ref(LEGACY_KEY, OTHER_CID)},
        lambda: {"subject": make_strong_ref(LEGACY_KEY, make_block(AFTER[LEGACY_KEY])[0], did=OTHER_DID)},
        lambda: {"subject": make_strong_ref(min(POSTS), make_block(AFTER[LEGACY_KEY])[0])},
        lambda: {"subject": BEFORE[LIKE_KEY]["subject"], "createdAt": "2024-01-01T00:00:00Z"},
    ],
)
def test_a_strong_reference_that_does_not_follow_its_record_is_a_difference(
    source: FakePds, destination: FakePds, make: Callable[[], dict[str, Any]]
) -> None:
    after = {**AFTER, LIKE_KEY: make()}
    after[REPLY_KEY] = {"subject": make_strong_ref(LIKE_KEY, make_block(after[LIKE_KEY])[0])}
    found = converted(source, destination, after)
    assert found.differences == (f"record {LIKE_KEY} is missing or differs",)


def test_a_strong_reference_that_was_stale_before_must_stay_as_it_was(source: FakePds, destination: FakePds) -> None:
    stale = make_strong_ref(LEGACY_KEY, OTHER_CID)
    image = make_legacy_blob_ref(PICTURE, "image/png")
    before = chain(image, stale)
    assert converted(source, destination, chain(make_blob_ref(PICTURE), stale), before).differences == ()
    rewritten = chain(make_blob_ref(PICTURE))
    assert converted(source, destination, rewritten, before).differences == (
        f"record {LIKE_KEY} is missing or differs",
    )


def test_a_current_reference_does_not_become_a_legacy_one(source: FakePds, destination: FakePds) -> None:
    found = converted(source, destination, BEFORE, AFTER)
    assert f"record {LEGACY_KEY} is missing or differs" in found.differences


@pytest.mark.parametrize("size", [1, 0, -1, len(PICTURE) + 1])
def test_a_converted_reference_must_tell_the_blobs_real_size(source: FakePds, destination: FakePds, size: int) -> None:
    cid = make_blob_ref(PICTURE)["ref"]
    found = converted(source, destination, chain(ref(size=size)))
    assert found.differences == (f"record {LEGACY_KEY} says that blob {cid} has {size} bytes",)


def test_a_size_of_minus_one_is_allowed_where_that_is_the_policy_and_no_other_wrong_size(
    source: FakePds, destination: FakePds
) -> None:
    assert converted(source, destination, chain(ref(size=-1)), is_sentinel_allowed=True).differences == ()
    assert converted(source, destination, chain(ref(size=-2)), is_sentinel_allowed=True).differences != ()


def test_where_nobody_gives_the_blob_out_its_size_is_not_judged_if_it_is_one(
    source: FakePds, destination: FakePds
) -> None:
    source.blobs.clear()
    destination.blobs.clear()
    (difference,) = converted(source, destination, chain(ref(size=123))).differences
    assert difference.startswith("blob ")
    assert len(converted(source, destination, chain(ref(size=-1))).differences) == 2
