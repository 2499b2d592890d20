"""The converted commit: its fields, its rev and its signature."""

from typing import Any

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.commit import parse_commit
from eurosky_pipeline.atproto.syntax import tid_of
from eurosky_pipeline.atproto.verify import verify_car
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline_tests import plain_convert
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    make_block,
    make_car,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
)
from eurosky_pipeline_tests.converting import PICTURE, POST, SIZES, convert, saved
from eurosky_pipeline_tests.damage import KEY

LAST_TID = "jzzzzzzzzzzzz"


def car_with(commit: dict[str, Any], records: dict[str, Any]) -> bytes:
    """A repository of these records under a commit of these fields."""
    repo = make_repo(records)
    block = make_block({"did": DID, "data": repo.nodes[-1][0], "sig": b"signed", **commit})
    return make_car(block[0], [block, *repo.blocks[1:]])


def test_the_commit_is_of_version_3_without_prev_and_its_rev_comes_right_after_the_old_one():
    data = car_with({"version": 3, "rev": REV, "prev": cid_of(b"before")}, {f"{POST}/a": PICTURE})
    outcome = convert(data, SIZES)
    root, blocks = plain_convert.read_blocks(outcome.data)
    commit = parse_commit(blocks[root])
    assert (commit.did, commit.version, commit.prev, commit.rev) == (DID, 3, None, "3jzfcijpj2z2b")
    assert (outcome.conversion.rev, outcome.conversion.root) == (commit.rev, root)


@pytest.mark.parametrize(("rev", "expected"), [(REV, "3jzfcijpj2z2b"), ("2zzzzzzzzzzzz", "3222222222222")])
@pytest.mark.parametrize("version", [2, 3])
def test_the_rev_carries(version, rev, expected):
    outcome = convert(car_with({"version": version, "rev": rev, "prev": None}, {f"{POST}/a": PICTURE}), SIZES)
    assert outcome.conversion.rev == expected


def test_an_old_commit_without_a_rev_gets_the_one_after_the_newest_record_key_that_is_a_tid():
    old, newest = tid_of(1_600_000_000_000_000), tid_of(1_700_000_000_000_000, 5)
    records = {
        f"{POST}/{old}": PICTURE,
        f"app.bsky.feed.like/{newest}": make_post("a like"),
        f"{POST}/{old[:-1]}z": make_post("b"),
        f"{POST}/zzzzzzzzzzzzz": make_post("no TID, it begins too high"),
        f"{POST}/{newest}z": make_post("no TID, it is too long"),
        "app.bsky.actor.profile/self": make_post("profile"),
    }
    for more in ({}, {"prev": None}, {"prev": cid_of(b"before")}):
        outcome = convert(car_with({"version": 2, **more}, records), SIZES)
        root, blocks = plain_convert.read_blocks(outcome.data)
        commit = parse_commit(blocks[root])
        assert (commit.version, commit.rev, commit.prev) == (3, tid_of(1_700_000_000_000_000, 6), None)


def test_a_rev_after_which_there_is_none_is_an_error_and_no_file():
    with pytest.raises(EuroskyError) as caught:
        convert(car_with({"version": 3, "rev": LAST_TID, "prev": None}, {f"{POST}/a": PICTURE}), SIZES)
    assert DID in caught.value.message or LAST_TID in caught.value.message


def test_a_rev_after_which_there_is_none_is_no_matter_where_nothing_changes():
    data = car_with({"version": 3, "rev": LAST_TID, "prev": None}, make_posts(2))
    assert convert(data, SIZES).conversion.rev == LAST_TID


def test_a_rev_after_which_there_is_none_is_no_matter_either_where_everything_is_kept():
    data = car_with({"version": 3, "rev": LAST_TID, "prev": None}, {f"{POST}/a": PICTURE})
    assert convert(data, {}).conversion.rev == LAST_TID


def test_the_signature_is_64_zero_bytes_without_a_key_and_the_keys_with_one():
    data = make_repo_car({f"{POST}/a": PICTURE})
    void, signed = convert(data, SIZES), convert(data, SIZES, key=KEY)
    commits = []
    for outcome in (void, signed):
        root, blocks = plain_convert.read_blocks(outcome.data)
        commits.append(parse_commit(blocks[root]))
    assert (void.conversion.signature, commits[0].sig) == ("void", bytes(64))
    assert signed.conversion.signature == "signed"
    with saved(signed.data) as path:
        assert verify_car(path, key=KEY.public_key).is_whole
    assert convert(data, SIZES, key=KEY).data == signed.data
