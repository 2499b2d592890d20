"""The converted file: its tree, what is left out of it, and that nothing but the input decides its bytes."""

import json
import subprocess
import sys
from random import Random
from typing import Any

import pytest

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
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
from eurosky_pipeline_tests.converting import BLOB, LEGACY, PICTURE, POST, SIZES, convert, is_whole, tall_repo

# the tree


def test_only_the_nodes_on_the_way_to_a_changed_record_are_rewritten_and_all_other_blocks_stay():
    repo = tall_repo()
    outcome = convert(make_car(repo.root, repo.blocks), SIZES)
    _, after = plain_convert.read_blocks(outcome.data)
    before = dict(repo.blocks)
    height = max(mst.key_height(key.encode()) for key in repo.records)
    key = next(key for key, block in repo.records.items() if block == make_block(PICTURE))
    on_the_way = height + 1 - mst.key_height(key.encode())
    assert outcome.conversion.nodes_rewritten == on_the_way
    assert len(after.keys() - before.keys()) == len(before.keys() - after.keys()) == 1 + on_the_way + 1
    assert len(after) == len(before)
    assert is_whole(outcome.data)


def test_a_record_at_every_height_can_change():
    for height in range(5):
        key = next(keys_at_height(height)).decode()
        data = make_repo_car(make_posts(300) | {key: PICTURE})
        outcome = convert(data, SIZES)
        assert plain_convert.read(outcome.data).records[key]["image"]["size"] == 9
        assert is_whole(outcome.data)


def test_nodes_without_an_entry_between_two_heights_are_rewritten_too():
    high, low = (next(keys_at_height(height)).decode() for height in (6, 0))
    outcome = convert(make_repo_car({high: make_post(), low: PICTURE}), SIZES)
    assert outcome.conversion.nodes_rewritten == 7
    assert is_whole(outcome.data)


def test_every_record_of_a_repository_can_change():
    data = make_repo_car({key: post | {"image": LEGACY} for key, post in make_posts(500).items()})
    outcome = convert(data, SIZES)
    assert outcome.conversion.records_changed == outcome.conversion.records == 500
    assert is_whole(outcome.data)
    assert not any(
        plain_convert.legacy_blob(record["image"]) for record in plain_convert.read(outcome.data).records.values()
    )


def node_that_is_a_record() -> tuple[bytes, str, Cid]:
    """A key whose record is the very block that also is the subtree before it, in which a record will change."""
    high = next(keys_at_height(1))
    low = next(key for key in keys_at_height(0) if key < high)
    nodes: dict[Cid, bytes] = {}
    picture = make_block(PICTURE)
    subtree = mst.build([(low, picture[0])], nodes.__setitem__)
    tree = mst.build([(low, picture[0]), (high, subtree)], nodes.__setitem__)
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    assert mst.parse_node(nodes[tree]).left == subtree
    return make_car(commit[0], [commit, *nodes.items(), picture]), high.decode(), subtree


def test_a_tree_node_that_is_a_record_too_is_rewritten_as_a_node_and_kept_as_a_record():
    data, key, node = node_that_is_a_record()
    outcome = convert(data, SIZES)
    assert is_whole(outcome.data)
    after = plain_convert.read(outcome.data)
    assert after.cids[key] == node
    assert outcome.conversion.records_changed == 1


def test_a_record_that_is_the_empty_trees_node_is_a_record():
    data = make_repo_car({f"{POST}/a": {"e": [], "l": None}, f"{POST}/b": PICTURE})
    outcome = convert(data, SIZES)
    assert is_whole(outcome.data)
    assert plain_convert.read(outcome.data).records[f"{POST}/a"] == {"e": [], "l": None}


def test_a_record_that_looks_like_a_commit_is_a_record():
    record = {"did": DID, "version": 3, "data": BLOB, "rev": REV, "prev": None, "sig": b"", "image": LEGACY}
    outcome = convert(make_repo_car({f"{POST}/a": record}), SIZES)
    assert plain_convert.read(outcome.data).records[f"{POST}/a"]["image"]["size"] == 9
    assert is_whole(outcome.data)


def test_a_record_that_was_the_commit_before_is_a_record():
    """Its block stands under a key, and in the file as the commit never does."""
    old = make_repo(make_posts(1)).commit
    repo = make_repo({f"{POST}/a": PICTURE})
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(
        [(f"{POST}/a".encode(), make_block(PICTURE)[0]), (f"{POST}/b".encode(), old[0])], nodes.__setitem__
    )
    commit = make_block({"did": DID, "version": 3, "data": tree, "rev": REV, "prev": None, "sig": bytes(64)})
    outcome = convert(make_car(commit[0], [commit, *nodes.items(), old, repo.records[f"{POST}/a"]]), SIZES)
    assert plain_convert.read(outcome.data).cids[f"{POST}/b"] == old[0]
    assert is_whole(outcome.data)


# what else is in the file


def test_orphans_and_duplicates_are_left_out_and_counted():
    repo, old = tall_repo(60), make_repo(make_posts(70))
    orphans = [*old.nodes, old.commit, make_block({"x": LEGACY}), make_block(5), (cid_of(b"", CODEC_RAW), b"")]
    orphans = [block for block in orphans if block not in repo.blocks]
    data = make_car(repo.root, [*orphans, *repo.blocks, *repo.blocks[:7], *orphans[:3]])
    outcome = convert(data, SIZES)
    assert is_whole(outcome.data)
    assert outcome.conversion.blocks_dropped == len(orphans) + 7 + 3
    assert outcome.conversion.records == 60


def test_with_nothing_to_convert_orphans_and_duplicates_are_no_reason_to_write_a_file():
    assert convert(make_repo_car(make_posts(5), orphans=[{"x": LEGACY}], duplicates=3), SIZES).data is None


def test_the_order_of_the_blocks_changes_nothing_but_the_order_of_the_blocks():
    repo = tall_repo(80)
    blocks = [*repo.blocks, make_block({"an": "orphan"})]
    outcomes = []
    for seed in range(5):
        Random(seed).shuffle(blocks)
        outcomes.append(convert(make_car(repo.root, blocks), SIZES))
    assert (
        len({(outcome.conversion.root, frozenset(plain_convert.read_blocks(outcome.data)[1])) for outcome in outcomes})
        == 1
    )


@pytest.mark.parametrize("twin_of", [POST, "a node", "the commit"])
def test_a_block_with_the_same_bytes_under_a_raw_cid_is_another_block(twin_of):
    """It stands before the one that is wanted, and nothing leads to it."""
    repo = make_repo({f"{POST}/a": PICTURE, f"{POST}/b": make_post()} | make_posts(40))
    height_0 = next(node for node in repo.nodes if mst.parse_node(node[1]).left is None)
    block = {POST: repo.records[f"{POST}/b"], "a node": height_0, "the commit": repo.commit}[twin_of]
    twin = (cid_of(block[1], CODEC_RAW), block[1])
    outcome = convert(make_car(repo.root, [twin, *repo.blocks, twin]), SIZES)
    assert is_whole(outcome.data)
    assert twin[0] not in plain_convert.read_blocks(outcome.data)[1]


@pytest.mark.parametrize("keys", ["ab", "ba"])
def test_a_record_that_becomes_what_another_one_has_always_been_shares_its_block(keys):
    modern = PICTURE | {"image": {"$type": "blob", "ref": BLOB, "mimeType": LEGACY["mimeType"], "size": 9}}
    outcome = convert(make_repo_car(dict(zip((f"{POST}/{key}" for key in keys), (PICTURE, modern), strict=True))))
    assert is_whole(outcome.data)
    assert set(map(str, plain_convert.read(outcome.data).cids.values())) == {str(make_block(modern)[0])}
    assert outcome.conversion.records_changed == 1


def test_a_record_that_becomes_what_an_orphan_is_is_there_once():
    modern = PICTURE | {"image": {"$type": "blob", "ref": BLOB, "mimeType": LEGACY["mimeType"], "size": 9}}
    outcome = convert(make_repo_car({f"{POST}/a": PICTURE}, orphans=[modern]))
    assert is_whole(outcome.data)
    assert plain_convert.read(outcome.data).records == {f"{POST}/a": modern}


@pytest.mark.parametrize("place", [0, 1, -1], ids=["first", "second", "last"])
def test_the_commit_may_stand_anywhere(place):
    repo = make_repo({f"{POST}/a": PICTURE, f"{POST}/b": make_post()})
    others = repo.blocks[1:]
    others.insert(place % len(repo.blocks), repo.commit)
    outcome = convert(make_car(repo.root, others), SIZES)
    assert is_whole(outcome.data)


@pytest.mark.parametrize("number", [*range(0, 1000, 25), 1001])
def test_the_commit_may_stand_far_behind_the_first_record_that_changes(number):
    """In a file that is read in many pieces: whose references to it are to be noted is not known yet."""
    liked = make_block(PICTURE)[0]
    like = {"$type": "app.bsky.feed.like", "subject": make_strong_ref(f"{POST}/a", liked)}
    repo = make_repo(make_posts(800) | {f"{POST}/a": PICTURE, "app.bsky.feed.like/b": like})
    *others, picture = [repo.records[key] for key in (*make_posts(800), f"{POST}/a")]
    rest = [*repo.nodes, repo.records["app.bsky.feed.like/b"], *others]
    rest.insert(number, repo.commit)
    outcome = convert(make_car(repo.root, [picture, *rest]), SIZES)
    assert is_whole(outcome.data)
    assert (outcome.conversion.records_changed, outcome.conversion.strong_refs_rewritten) == (2, 1)


def test_a_repository_without_a_record_stays_as_it_is():
    outcome = convert(make_repo_car({}), SIZES)
    assert (outcome.data, outcome.conversion.records) == (None, 0)


_AGAIN = """
import sys, json, hashlib
from pathlib import Path
from eurosky_pipeline.convert import output
from eurosky_pipeline.convert.convert_car import convert_car
from eurosky_pipeline.convert.legacy_blobs import LegacyBlobs
from eurosky_pipeline.plugins.record_transforms import UnknownSize
source, target = map(Path, sys.argv[1:])
done = convert_car(source, target, [LegacyBlobs()], unknown_size=UnknownSize.SENTINEL,
                   blob_sizes=lambda cids: dict.fromkeys(list(cids)[::2], 5), report=lambda _: None)
print(json.dumps([hashlib.sha256(target.read_bytes()).hexdigest(), repr(done)]))
"""


def test_the_bytes_do_not_depend_on_the_seed_of_pythons_hashes(tmp_path):
    records: dict[str, Any] = {}
    for number, (key, post) in enumerate(make_posts(120).items()):
        pictures = [make_legacy_blob_ref(b"%d" % (number * k % 17)) for k in range(number % 4)]
        records[key] = post | {"images": pictures}
    refs = [make_strong_ref(key, make_block(record)[0]) for key, record in records.items()]
    likes = {f"app.bsky.feed.like/{n:04}": {"subject": refs[n * 7 % 120], "more": refs[n % 9 :: 11]} for n in range(90)}
    source = tmp_path / "source.car"
    source.write_bytes(make_repo_car(records | likes))
    told = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", _AGAIN, source, tmp_path / "target.car"],
            env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        told.add(done.stdout)
    assert len(told) == 1
    assert "records_changed=180" in json.loads(told.pop())[1]
