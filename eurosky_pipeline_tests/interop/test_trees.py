"""Merkle search trees, by bluesky-social/atproto-interop-tests (CC0) and DavidBuchanan314/mst-test-suite (MIT)."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import CarReader
from eurosky_pipeline.atproto.cid import Cid, cid_of, parse_cid
from eurosky_pipeline.atproto.mst import Change, Entry, Node, build, diff, encode_node, key_height, walk

LEAF = cid_of(b"record")


def vectors(fixtures: Path, path: str) -> Any:
    return json.loads((fixtures / "atproto-interop-tests" / path).read_text(encoding="utf-8"))


def build_tree(keys, leaf: Cid = LEAF) -> tuple[Cid, dict[Cid, bytes]]:
    nodes: dict[Cid, bytes] = {}
    return build(((key.encode(), leaf) for key in keys), nodes.__setitem__), nodes


def test_every_file_about_trees_is_used(fixtures):
    folder = fixtures / "atproto-interop-tests"
    assert {path.name for path in (folder / "mst").iterdir()} == {
        "common_prefix.json",
        "example_keys.txt",
        "key_heights.json",
    }
    assert [path.name for path in (folder / "firehose").iterdir()] == ["commit-proof-fixtures.json"]


def test_keys_have_their_known_heights(fixtures):
    found = vectors(fixtures, "mst/key_heights.json")
    assert len(found) == 9
    assert [case for case in found if key_height(case["key"].encode()) != case["height"]] == []


def test_keys_share_their_known_prefixes(fixtures):
    found = vectors(fixtures, "mst/common_prefix.json")
    assert len(found) == 13
    for case in found:
        left, right = case["left"].encode(), case["right"].encode()
        _, second = dag_cbor.decode(encode_node(Node(None, (Entry(left, LEAF, None), Entry(right, LEAF, None)))))["e"]
        assert (second["p"], second["k"]) == (case["len"], right[case["len"] :]), case


def test_the_example_keys_have_the_height_that_they_name_and_make_a_tree(fixtures):
    keys = (fixtures / "atproto-interop-tests" / "mst" / "example_keys.txt").read_text(encoding="utf-8").split()
    assert len(keys) == 156
    assert [key for key in keys if key_height(key.encode()) != int(key[1])] == []
    root, nodes = build_tree(reversed(keys))
    assert [key.decode() for key, _ in walk(root, nodes.__getitem__)] == sorted(keys)


def test_commits_lead_from_their_known_root_to_their_known_root(fixtures):
    found = vectors(fixtures, "firehose/commit-proof-fixtures.json")
    assert len(found) == 6
    for case in found:
        leaf, keys = parse_cid(case["leafValue"]), set(case["keys"])
        adds, dels = set(case["adds"]), set(case["dels"])
        old_root, old_nodes = build_tree(keys, leaf)
        assert str(old_root) == case["rootBeforeCommit"], case["comment"]
        root, nodes = build_tree((keys | adds) - dels, leaf)
        assert str(root) == case["rootAfterCommit"], case["comment"]
        assert set(case["blocksInProof"]) <= set(map(str, nodes)), case["comment"]
        assert list(diff(old_root, old_nodes.__getitem__, root, nodes.__getitem__)) == [
            Change(key.encode(), leaf if key in dels else None, leaf if key in adds else None)
            for key in sorted(adds | dels)
        ], case["comment"]


def test_the_blocks_that_prove_a_commit_are_enough_to_find_its_changes(fixtures):
    """Of the new tree, a difference opens what its creator's proof has, and nothing else that the old one lacks."""
    for case in vectors(fixtures, "firehose/commit-proof-fixtures.json"):
        leaf, keys = parse_cid(case["leafValue"]), set(case["keys"])
        old_root, old_nodes = build_tree(keys, leaf)
        root, nodes = build_tree((keys | set(case["adds"])) - set(case["dels"]), leaf)
        proof = {cid: data for cid, data in nodes.items() if str(cid) in case["blocksInProof"]}
        load = (proof | old_nodes).__getitem__
        changes = {change.key.decode() for change in diff(old_root, old_nodes.__getitem__, root, load)}
        assert changes == {*case["adds"], *case["dels"]}, case["comment"]


def test_each_small_tree_is_walked_and_built_again_block_for_block(fixtures):
    files = sorted((fixtures / "mst-test-suite" / "cars").rglob("*.car"))
    assert len(files) == 128
    roots = set()
    for file in files:
        with file.open("rb") as stream:
            reader = CarReader(stream)
            (root,) = reader.roots
            blocks = {cid: data for cid, data, _ in reader}
        entries = list(walk(root, blocks.__getitem__))
        assert all(one[0] < other[0] for one, other in pairwise(entries))
        nodes: dict[bytes, bytes] = {}
        assert build(reversed(entries), nodes.__setitem__) == root, file.name
        assert nodes == blocks, file.name
        roots.add(root)
    assert len(roots) == 128
