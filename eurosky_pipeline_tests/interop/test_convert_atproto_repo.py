"""Converted repositories as npm's `@atproto/repo` sees them, and real repositories made old and converted back."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of, parse_cid
from eurosky_pipeline.atproto.keys import Curve, signing_key_of
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.sandbox.packages import INSTALL_TIMEOUT_S, ensure_packages
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    keys_at_height,
    make_block,
    make_car,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.converting import Outcome, convert, saved
from eurosky_pipeline_tests.damage import KEY, OTHER_KEY
from eurosky_pipeline_tests.second_opinion import Reading, RefusedError, SecondOpinion, save_cars, to_json

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S)  # whoever comes first installs the packages

POST, LIKE = "app.bsky.feed.post", "app.bsky.feed.like"
P256_KEY = signing_key_of(Curve.P256, bytes(31) + b"\x09")
PICTURES = [b"picture %d" % n for n in range(5)]
SIZES = {cid_of(data, CODEC_RAW): 1000 + len(data) for data in PICTURES[:4]}
LEGACY = [make_legacy_blob_ref(data) for data in PICTURES]

Records = dict[str, Any]


def ref_to(key: str, record: Any) -> dict[str, Any]:
    return make_strong_ref(key, make_block(record)[0])


def a_life(count: int = 1500) -> Records:
    """Posts with and without pictures, replies to them, likes, a profile, and what looks like a picture."""
    records: Records = {}
    before: tuple[str, Any] = ("", {})
    for number, (key, post) in enumerate(make_posts(count).items()):
        if number % 20 == 0:
            post["embed"] = {"images": [{"alt": "é", "image": LEGACY[number % 5]}, {"image": LEGACY[(number + 1) % 5]}]}
        if number % 3 == 1:
            ref = ref_to(*before)
            post["reply"] = {"root": ref, "parent": ref}
        records[key] = post
        before = (key, post)
    posts = list(records.items())
    records |= {f"{LIKE}/{key.partition('/')[2]}": {"subject": ref_to(key, post)} for key, post in posts[::7]}
    profile = {"avatar": LEGACY[0], "banner": LEGACY[1], "pinnedPost": ref_to(*posts[0])}
    records["app.bsky.actor.profile/self"] = profile
    records["com.example.unknown/x"] = {"x": LEGACY[0] | {"alt": ""}, "y": [[{"z": LEGACY[2]}]]}
    return records


def a_thread() -> Records:
    """50 posts that answer each other, in no order of their keys."""
    keys = [f"{POST}/{number * 7 % 53:04}" for number in range(1, 51)]
    records: Records = {keys[0]: make_post(image=LEGACY[0])}
    for before, key in itertools.pairwise(keys):
        ref = ref_to(before, records[before])
        records[key] = make_post(reply={"parent": ref, "root": ref})
    return records


REPOS: dict[str, Records] = {
    "one legacy record": {f"{POST}/self": make_post(image=LEGACY[0])},
    "a life": a_life(),
    "a thread": a_thread(),
    "keys of each height up to 6": {
        next(keys_at_height(height)).decode(): make_post(f"{height}", image=LEGACY[height % 5]) for height in range(7)
    },
    "a size that is not known": {f"{POST}/a": make_post(image=LEGACY[4]), f"{POST}/b": make_post(image=LEGACY[0])},
    "two keys of one block": {f"{POST}/a": make_post(image=LEGACY[0]), f"{POST}/b": make_post(image=LEGACY[0])},
    "a record that is nothing but the reference": {f"{POST}/a": LEGACY[0]},
    "every record a legacy one": {key: post | {"x": LEGACY[0]} for key, post in make_posts(500).items()},
}


def old_car(records: Records) -> bytes:
    """Under an old commit of version 2, with orphans and duplicates."""
    repo = make_repo(records)
    commit = make_block(
        {"did": DID, "version": 2, "data": repo.nodes[-1][0], "rev": REV, "prev": None, "sig": bytes(64)}
    )
    orphans = [make_block({"nobody": "knows me", "image": LEGACY[n]}) for n in range(3)]
    return make_car(commit[0], [commit, *repo.blocks[1:], *orphans, *repo.blocks[1::2]])


@pytest.fixture(scope="module")
def theirs() -> SecondOpinion:
    return SecondOpinion(ensure_packages(print))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {name: convert(old_car(records), SIZES, key=KEY) for name, records in REPOS.items()}


@pytest.fixture(scope="module")
def files(outcomes, tmp_path_factory) -> list[Path]:
    return save_cars(tmp_path_factory.mktemp("converted"), [outcome.data for outcome in outcomes.values()])


@pytest.fixture(scope="module")
def readings(theirs, files) -> dict[str, Reading]:
    return dict(zip(REPOS, theirs.read(files), strict=True))


def test_they_accept_every_converted_repository_with_its_signature(theirs, files):
    counts = theirs.accept(files, did=DID, did_key=KEY.public_key.did_key)
    assert dict(zip(REPOS, counts, strict=True)) == {name: len(records) for name, records in REPOS.items()}


def test_they_accept_our_signature_of_the_other_curve_and_neither_another_key_nor_none(theirs, tmp_path):
    data = old_car(REPOS["a thread"])
    cars = [convert(data, SIZES, key=P256_KEY).data, convert(data, SIZES).data]
    signed, void = save_cars(tmp_path, cars)
    assert theirs.accept([signed], did=DID, did_key=P256_KEY.public_key.did_key) == [50]
    for path, key in ((signed, OTHER_KEY), (void, KEY), (void, P256_KEY)):
        assert isinstance(theirs.verify([path], did=DID, did_key=key.public_key.did_key)[0], RefusedError)


@pytest.mark.parametrize("name", REPOS)
def test_they_read_the_records_that_the_plain_conversion_gives(readings, outcomes, name):
    reading, outcome = readings[name], outcomes[name]
    expected = plain_convert.convert(old_car(REPOS[name]), SIZES, "keep")
    assert isinstance(reading, Reading), reading
    assert reading.root == str(outcome.conversion.root)
    assert reading.commit == {"did": DID, "rev": expected.rev, "version": 3, "data": str(expected.tree)}
    assert reading.keys == [[key, str(cid)] for key, cid in sorted(expected.cids.items())]
    assert reading.records == {key: to_json(record) for key, record in expected.records.items()}


@pytest.mark.parametrize("name", REPOS)
def test_they_would_write_the_same_records_the_same_tree_and_the_same_blocks(readings, name):
    reading = readings[name]
    assert reading.reencoded == dict(reading.keys)
    assert reading.rebuilt == reading.commit["data"]
    assert sorted(reading.blocks) == sorted(reading.written)
    assert len(reading.blocks) == len(set(reading.blocks))


# real repositories


def made_old(data: bytes) -> tuple[Records, dict[Cid, int]]:
    """A repository's records as they would have been with legacy references, and the sizes that were in them.

    Strong references in the same repository follow, by the plain conversion.
    """
    repo, sizes = plain_convert.read(data), dict[Cid, int]()

    def change(value: dict[str, Any]) -> dict[str, Any]:
        if value.get("$type") != "blob":
            return value
        sizes[value["ref"]] = value["size"]
        return {"cid": str(value["ref"]), "mimeType": value["mimeType"]}

    changed = {key: plain_convert.each_map(record, change) for key, record in repo.records.items()}
    return plain_convert.with_strong_refs(repo, changed)[0], sizes


def test_a_real_repository_made_old_is_converted_back_to_what_it_was(fixtures):
    data = (fixtures / "indigo-repos" / "fakermaker.repo.car").read_bytes()
    before = plain_convert.read(data)
    records, sizes = made_old(data)
    outcome = convert(make_repo_car(records, did=before.did), sizes)
    assert (outcome.counts["refs_converted"], outcome.counts["refs_kept"]) == (3, 0)
    assert outcome.conversion.records_changed >= 2
    after = plain_convert.read(outcome.data)
    assert after.cids == before.cids
    assert plain_convert.tree_of(after.cids) == plain_convert.tree_of(before.cids)
    with saved(outcome.data) as path:
        assert verify_car(path).is_whole
    with saved(data) as path, open_repo(path) as repo:
        assert repo.commit.data == plain_convert.tree_of(after.cids)


@pytest.mark.parametrize("name", ["fakermaker", "greenground"])
def test_a_real_repository_without_legacy_references_is_left_as_it_is(fixtures, name):
    outcome = convert((fixtures / "indigo-repos" / f"{name}.repo.car").read_bytes(), unknown="sentinel")
    assert (outcome.data, outcome.conversion.signature) == (None, "kept")
    assert outcome.conversion.records == {"fakermaker": 142, "greenground": 2}[name]


def injected(change: Callable[[str, Records], Records]) -> Callable[[bytes], tuple[bytes, Records]]:
    """The real file with some records changed: its own commit, orphans, duplicates and block order stay around them."""

    def inject(data: bytes) -> tuple[bytes, Records]:
        repo = plain_convert.read(data)
        records, _ = plain_convert.with_strong_refs(
            repo, {key: change(key, record) for key, record in repo.records.items()}
        )
        built = make_repo(records, did=repo.did)
        commit = make_block({"did": repo.did, "version": 2, "data": built.nodes[-1][0], "prev": None, "sig": b"old"})
        _, old = plain_convert.read_blocks(data)
        return make_car(commit[0], [*old.items(), commit, *built.blocks[1:]]), records

    return inject


def test_a_real_repository_with_its_orphans_and_its_version_2_is_converted(fixtures, theirs, tmp_path):
    data = (fixtures / "indigo-repos" / "fakermaker.repo.car").read_bytes()
    keys = list(plain_convert.read(data).records)
    some = set(keys[5::9])
    inject = injected(lambda key, record: record | {"old": [LEGACY[len(key) % 4], 1]} if key in some else record)
    old, records = inject(data)
    outcome = convert(old, SIZES, key=KEY)
    expected = plain_convert.convert(old, SIZES, "keep")
    assert outcome.counts["refs_converted"] == len(some)
    assert outcome.conversion.rev == expected.rev > ""
    assert outcome.conversion.blocks_dropped > 500
    files = save_cars(tmp_path, [outcome.data])
    did = outcome.conversion.did
    assert theirs.accept(files, did=did, did_key=KEY.public_key.did_key) == [142]
    (reading,) = theirs.read(files)
    assert isinstance(reading, Reading), reading
    assert reading.rebuilt == reading.commit["data"] == str(expected.tree)
    assert reading.keys == [[key, str(cid)] for key, cid in sorted(expected.cids.items())]
    assert set(records) == set(dict(reading.keys))
    assert all(parse_cid(cid) for _, cid in reading.keys)
