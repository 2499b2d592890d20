"""The tree: its set of keys decides every node. What a walk refuses is in test_mst_refusals.py."""

import random

import pytest

from eurosky_pipeline.atproto.cid import cid_of, parse_cid
from eurosky_pipeline.atproto.mst import (
    MAX_KEY_BYTES,
    Entry,
    MstError,
    Node,
    build,
    encode_node,
    key_height,
    parse_node,
    walk,
)
from eurosky_pipeline_tests.builders import keys_at_height

LEAF = parse_cid("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")

# Known answers of the reference implementation's own tests; each key stands in `com.example.record`.
KNOWN_ROOTS = {
    "no key": ([], "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"),
    "one key": (["3jqfcqzm3fo2j"], "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"),
    "one key at height 2": (["3jqfcqzm3fx2j"], "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai"),
    "five keys": (
        ["3jqfcqzm3fp2j", "3jqfcqzm3fr2j", "3jqfcqzm3fs2j", "3jqfcqzm3ft2j", "3jqfcqzm4fc2j"],
        "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m",
    ),
}


def build_tree(keys):
    nodes = {}
    return build(((key, LEAF) for key in keys), nodes.__setitem__), nodes


def some_keys(count):
    return [f"app.bsky.feed.like/{number:06}".encode() for number in range(count)]


@pytest.mark.parametrize(("rkeys", "root"), KNOWN_ROOTS.values(), ids=KNOWN_ROOTS.keys())
def test_known_trees_have_their_known_roots(rkeys, root):
    assert str(build_tree(f"com.example.record/{rkey}".encode() for rkey in rkeys)[0]) == root


@pytest.mark.parametrize("count", [0, 1, 2, 10, 500])
def test_what_is_built_is_walked_in_key_order(count):
    entries = {key: cid_of(key) for key in some_keys(count)}
    nodes = {}
    root = build(entries.items(), nodes.__setitem__)
    assert list(walk(root, nodes.__getitem__)) == sorted(entries.items())


def test_the_order_of_insertion_decides_nothing():
    keys = some_keys(200)
    expected = build_tree(keys)
    for seed in range(5):
        random.Random(seed).shuffle(keys)
        assert build_tree(keys) == expected


def test_one_key_or_one_value_more_or_other_is_another_root():
    entries = dict.fromkeys(some_keys(50), LEAF)
    root = build(entries.items(), lambda *_: None)
    changed = entries | {b"app.bsky.feed.like/000007": cid_of(b"other")}
    added = entries | {b"app.bsky.feed.like/x": LEAF}
    removed = dict.fromkeys(some_keys(49), LEAF)
    roots = {root, *(build(variant.items(), lambda *_: None) for variant in (changed, added, removed))}
    assert len(roots) == 4


def test_every_node_is_put_once_and_after_its_children():
    seen = []
    root = build(((key, LEAF) for key in some_keys(300)), lambda cid, data: seen.append((cid, data)))
    assert len({cid for cid, _ in seen}) == len(seen) > 50
    assert seen[-1][0] == root
    before = set()
    for cid, data in seen:
        assert cid == cid_of(data)
        node = parse_node(data)
        assert {node.left, *(entry.right for entry in node.entries)} - {None} <= before
        before.add(cid)


def test_a_node_comes_back_as_it_was_written():
    low, high = next(keys_at_height(0)), next(keys_at_height(3))
    node = Node(LEAF, tuple(Entry(key, cid_of(key), None) for key in sorted((low, high))))
    assert parse_node(encode_node(node)) == node


def test_a_gap_of_several_heights_is_bridged_by_nodes_without_entries():
    high = next(keys_at_height(4))
    low = next(key for key in keys_at_height(0) if key > high)
    root, nodes = build_tree([high, low])
    shapes = [(len(node.entries), node.left is not None) for node in map(parse_node, nodes.values())]
    assert shapes == [(1, False), (0, True), (0, True), (0, True), (1, False)]
    assert [key for key, _ in walk(root, nodes.__getitem__)] == [high, low]


def test_a_key_lives_at_the_height_of_its_leading_zero_bit_pairs():
    assert key_height(b"2653ae71") == 0
    assert key_height(b"blue") == 1
    assert key_height(b"app.bsky.feed.post/9adeb165882c") == 8


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"noslash",
        b"/rkey",
        b"collection/",
        b"a/b/c",
        b"a//b",
        b"a/b c",
        b"a/b\n",
        b"a/\xc3\xa9",
        b"a/\xff",
        b"a/b%20",
        b"a/@b",
        b"a/" + b"x" * (MAX_KEY_BYTES - 1),
    ],
)
def test_a_key_that_is_no_path_of_two_segments_is_not_built(key):
    with pytest.raises(MstError, match="not a key"):
        build_tree([key])


def test_a_key_of_the_greatest_length_is_built():
    key = b"a/" + b"x" * (MAX_KEY_BYTES - 2)
    root, nodes = build_tree([key])
    assert list(walk(root, nodes.__getitem__)) == [(key, LEAF)]


def test_a_key_that_comes_twice_is_not_built():
    with pytest.raises(MstError, match="twice"):
        build([(b"a/b", LEAF), (b"a/b", cid_of(b"other"))], lambda *_: None)
