"""Repositories between us and npm's `@atproto/repo`: ours read by it, its read by us."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.atproto.commit import encode_commit, verify_signature
from eurosky_pipeline.atproto.keys import Curve, SignatureError, signing_key_of
from eurosky_pipeline.atproto.repo import RepoFile, open_repo
from eurosky_pipeline.sandbox.packages import INSTALL_TIMEOUT_S, ensure_packages
from eurosky_pipeline_tests.builders import (
    DID,
    OTHER_DID,
    REV,
    BuiltRepo,
    keys_at_height,
    make_blob_ref,
    make_block,
    make_car,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
)
from eurosky_pipeline_tests.damage import KEY, OTHER_KEY, signed
from eurosky_pipeline_tests.second_opinion import Reading, RefusedError, SecondOpinion, ToWrite, save_cars, to_json

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S)  # whoever comes first installs the packages

POST = "app.bsky.feed.post"
COLLECTIONS = (POST, "app.bsky.feed.like", "app.bsky.graph.follow", "com.example.a-b.recordV2", "x.y.z")
LONGEST_NSID = ".".join(["a" + "b" * 62] * 4 + ["c" + "d" * 60])
LINK = cid_of(b"somewhere else")

Records = Mapping[str, dict[str, Any]]


def key_at(height: int) -> str:
    return next(keys_at_height(height)).decode()


def many() -> Records:
    posts = make_posts(2000)
    return {f"{COLLECTIONS[n % 5]}/{key.partition('/')[2]}": post for n, (key, post) in enumerate(posts.items())}


REPOS: dict[str, Records] = {
    "empty": {},
    "one record": {f"{POST}/self": make_post()},
    "2,000 records of five collections": many(),
    "keys of each height up to 6": {key_at(height): make_post(f"{height}") for height in range(7)},
    "a key six heights above the other": {key_at(6): make_post("high"), key_at(0): make_post("low")},
    "one key, high up": {key_at(6): make_post()},
    "the longest keys": {f"{LONGEST_NSID}/{letter * 512}": make_post(letter) for letter in "abcAZ"},
    "record keys of odd characters": {
        f"{COLLECTIONS[-1]}/{rkey}": make_post(rkey) for rkey in ("-", "_", "~", ":", "...", "A", "a", "0", "a:b~c.d_e")
    },
    "texts of all scripts": {
        f"{POST}/texts": make_post(
            "\0 \u007f \u00e9e\u0301 \u4f60\u597d \u05e9\u05dc\u05d5\u05dd \U0001f98b \uffff \u2028"
        ),
        f"{POST}/keys": {"z": 1, "\u00e9": 2, "aa": 3, "\uff61": 4, "\U0001f98b": 5, "": 6, "\0": 7, "$bytes ": 8},
    },
    "nested values": {
        f"{POST}/deep": make_post(inner=[[[[{"a": {"b": [{}, [], {"c": [None, True, False]}]}}]]]]),
        f"{POST}/numbers": make_post(numbers=[0, -1, 23, 24, 255, 256, 65_536, -(2**32), 2**53 - 1, 1 - 2**53]),
        f"{POST}/bytes": make_post(some=b"\0\xff", none=b"", many=bytes(range(256)) * 400),
        f"{POST}/links": make_post(to=[LINK, {"raw": cid_of(b"", CODEC_RAW)}], text_of_a_link=str(LINK)),
    },
    "blobs, current and legacy": {
        f"{POST}/current": make_post(
            embed={"images": [{"image": make_blob_ref(b"one")}, {"image": make_blob_ref(b"two")}]}
        ),
        f"{POST}/legacy": make_post(embed={"images": [{"image": make_legacy_blob_ref(b"one")}]}),
        "app.bsky.actor.profile/self": {"avatar": make_blob_ref(), "banner": make_legacy_blob_ref(b"three")},
    },
    "records that are equal": {f"{POST}/{letter}": make_post("the same") for letter in "abcdefgh"},
}
"""Small and large, by what is tried in it. Numbers stay within what JavaScript can say."""


def our_car(repo: BuiltRepo) -> bytes:
    """With a duplicate of every second block, and orphans, as old exports have them."""
    orphans = [make_block({"nobody": "knows me", "number": number}) for number in range(3)]
    return make_car(repo.root, [*repo.blocks, *orphans, *repo.blocks[::2]])


@pytest.fixture(scope="module")
def theirs() -> SecondOpinion:
    return SecondOpinion(ensure_packages(print))


# ours, read by them


@pytest.fixture(scope="module")
def ours() -> dict[str, BuiltRepo]:
    return {name: signed(make_repo(records)) for name, records in REPOS.items()}


@pytest.fixture(scope="module")
def our_files(ours, tmp_path_factory) -> list[Path]:
    return save_cars(tmp_path_factory.mktemp("ours"), map(our_car, ours.values()))


@pytest.fixture(scope="module")
def readings(theirs, our_files) -> dict[str, Reading]:
    return dict(zip(REPOS, theirs.read(our_files), strict=True))


def test_they_accept_every_repository_of_ours_with_its_signature(theirs, our_files):
    counts = theirs.accept(our_files, did=DID, did_key=KEY.public_key.did_key)
    assert dict(zip(REPOS, counts, strict=True)) == {name: len(records) for name, records in REPOS.items()}


def test_they_accept_our_signature_of_the_other_curve_and_no_other_key_or_account(theirs, tmp_path):
    key = signing_key_of(Curve.P256, bytes(31) + b"\x09")
    repo = signed(make_repo(make_posts(3)), key)
    files = save_cars(tmp_path, [make_car(repo.root, repo.blocks)])
    assert theirs.verify(files, did=DID, did_key=key.public_key.did_key) == [3]
    for did, other in ((DID, OTHER_KEY), (DID, KEY), (OTHER_DID, key)):
        assert isinstance(theirs.verify(files, did=did, did_key=other.public_key.did_key)[0], RefusedError)


@pytest.mark.parametrize("name", REPOS)
def test_they_read_what_we_have_written(readings, ours, name):
    reading, repo = readings[name], ours[name]
    assert isinstance(reading, Reading), reading
    assert reading.root == str(repo.root)
    assert reading.commit == {"did": DID, "rev": REV, "version": 3, "data": str(repo.nodes[-1][0])}
    assert reading.keys == [[key, str(cid)] for key, (cid, _) in sorted(repo.records.items())]
    assert reading.records == {key: to_json(value) for key, value in REPOS[name].items()}


@pytest.mark.parametrize("name", REPOS)
def test_they_would_write_the_same_records_and_the_same_tree(readings, ours, name):
    reading, repo = readings[name], ours[name]
    assert reading.reencoded == {key: str(cid) for key, (cid, _) in repo.records.items()}
    assert reading.rebuilt == str(repo.nodes[-1][0])
    assert sorted(reading.written) == sorted({str(cid) for cid, _ in repo.blocks})
    assert len(reading.blocks) == len(repo.blocks) + 3


# theirs, read by us


def creates(records: Records) -> list[dict[str, Any]]:
    return [{"action": "create", "key": key, "value": to_json(value)} for key, value in records.items()]


def later_commits() -> tuple[list[list[dict[str, Any]]], Records]:
    """Five commits that create, update and delete; and what is there in the end."""
    there = make_posts(300)
    commits = [creates(there)]
    for number in range(1, 5):
        keys = list(there)
        updated = {key: make_post(f"now {number}") | {"key": key} for key in keys[::7]}
        added = {f"{COLLECTIONS[number]}/{number}-{n}": make_post(f"{number} {n}") for n in range(40)}
        deleted = keys[3::5]
        there = {key: value for key, value in (there | updated | added).items() if key not in deleted}
        commits.append(
            creates(added)
            + [{"action": "update", "key": key, "value": to_json(value)} for key, value in updated.items()]
            + [{"action": "delete", "key": key} for key in deleted]
        )
    return commits, there


def down_to_nothing() -> tuple[list[list[dict[str, Any]]], Records]:
    posts = make_posts(50)
    return [creates(posts), [{"action": "delete", "key": key} for key in posts]], {}


COMMITS: dict[str, tuple[Sequence[Sequence[Mapping[str, Any]]], Records]] = {
    **{name: ([creates(records)], records) for name, records in REPOS.items()},
    "five commits": later_commits(),
    "deleted to the last record": down_to_nothing(),
}


CURVES = dict(zip(COMMITS, itertools.cycle(Curve)))
SECRET = bytes(31) + b"\x0a"


@pytest.fixture(scope="module")
def their_repos(theirs, tmp_path_factory) -> dict[str, tuple[Path, str | RefusedError]]:
    folder = tmp_path_factory.mktemp("theirs")
    repos = [
        ToWrite(folder / f"{number}.car", CURVES[name], SECRET, commits)
        for number, (name, (commits, _)) in enumerate(COMMITS.items())
    ]
    did_keys = theirs.write(repos, did=DID)
    return {name: (repo.car, did_key) for name, repo, did_key in zip(COMMITS, repos, did_keys, strict=True)}


@pytest.mark.parametrize("name", COMMITS)
def test_what_they_have_written_is_read_verified_and_written_again_by_us(their_repos, name):
    car, did_key = their_repos[name]
    key = signing_key_of(CURVES[name], SECRET).public_key
    assert did_key == key.did_key
    with open_repo(car) as repo:
        assert_is_whole(repo, COMMITS[name][1])
        verify_signature(repo.commit, key)
        with pytest.raises(SignatureError):
            verify_signature(repo.commit, OTHER_KEY.public_key)


def assert_is_whole(repo: RepoFile, expected: Records) -> None:
    """These records under the one tree that there is for them, and nothing else."""
    records = list(repo.records())
    assert {record.key: record.value for record in records} == expected
    assert list(repo.keys()) == [(record.key, record.cid) for record in records]
    nodes: dict[bytes, bytes] = {}
    entries = [(record.key.encode(), record.cid) for record in reversed(records)]
    assert mst.build(entries, nodes.__setitem__) == repo.commit.data
    assert (repo.commit.did, repo.commit.version, repo.orphan_count(), repo.duplicate_count) == (DID, 3, 0, 0)
    assert repo.block(repo.root) == encode_commit(repo.commit)
    assert all(repo.block(cid) == data for cid, data in nodes.items())
    assert all(repo.block(record.cid) == dag_cbor.encode(record.value) for record in records)
    assert repo.block_count == 1 + len(nodes) + len({record.cid for record in records})
