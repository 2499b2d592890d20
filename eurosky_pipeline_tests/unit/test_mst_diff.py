"""The difference of two trees: what it tells, what it opens for that, and what it refuses.

That it is right for any two trees is in property/test_atproto_diff.py.
"""

from collections import Counter

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.mst import Change, MstError, build, diff, key_height, parse_node
from eurosky_pipeline_tests.builders import keys_at_height

ONE, OTHER = cid_of(b"one"), cid_of(b"other")
KEYS = [f"app.bsky.feed.like/{number:06}".encode() for number in range(20_000)]
TREE = dict.fromkeys(KEYS, ONE)


class Nodes(dict[bytes, bytes]):
    """A tree's nodes, which count how often each is loaded."""

    def __init__(self, tree: dict[bytes, Cid]) -> None:
        self.loads: Counter[bytes] = Counter()
        self.root = build(tree.items(), self.__setitem__)

    def load(self, cid: bytes) -> bytes:
        self.loads[cid] += 1
        return self[cid]


def changes(old: Nodes, new: Nodes) -> list[Change]:
    return list(diff(old.root, old.load, new.root, new.load))


@pytest.fixture(scope="module")
def large() -> Nodes:
    return Nodes(TREE)


def test_a_key_that_came_went_or_changed_is_told_with_both_of_its_records():
    old = Nodes({b"a/1": ONE, b"a/2": ONE, b"a/3": ONE})
    new = Nodes({b"a/0": OTHER, b"a/1": ONE, b"a/2": OTHER})
    assert changes(old, new) == [
        Change(b"a/0", None, OTHER),
        Change(b"a/2", ONE, OTHER),
        Change(b"a/3", ONE, None),
    ]


def test_two_equal_trees_are_not_even_opened(large):
    def load(cid: bytes) -> bytes:
        raise AssertionError("nothing is to be loaded")

    assert list(diff(large.root, load, large.root, load)) == []


def test_a_tree_beside_an_empty_one_is_all_change(large):
    empty = Nodes({})
    assert changes(empty, large) == [Change(key, None, ONE) for key in KEYS]
    assert changes(large, empty) == [Change(key, ONE, None) for key in KEYS]


@pytest.mark.parametrize("kind", ["added", "removed", "changed"])
def test_one_change_in_a_large_tree_opens_the_path_to_it_and_no_more(large, kind):
    """Of some 6,000 nodes; beside the path, at most one more a height is opened where a key came or went."""
    heights = max(map(key_height, KEYS)) + 1
    assert len(large) > 5_000
    for key in [KEYS[0], KEYS[-1], *KEYS[7::6_000], max(KEYS, key=key_height)]:
        tree = dict(TREE)
        if kind == "added":
            expected = Change(key + b"x", None, OTHER)
            tree[key + b"x"] = OTHER
        elif kind == "removed":
            expected = Change(key, tree.pop(key), None)
        else:
            expected, tree[key] = Change(key, ONE, OTHER), OTHER
        new = Nodes(tree)
        large.loads.clear()
        assert changes(large, new) == [expected]
        assert 1 <= large.loads.total() <= (heights if kind == "changed" else 2 * heights + 2)
        assert 1 <= new.loads.total() <= (heights if kind == "changed" else 2 * heights + 2)


def test_the_work_follows_the_changes_and_not_the_tree(large):
    heights = max(map(key_height, KEYS)) + 1
    for count in (1, 10, 100):
        new = Nodes(TREE | dict.fromkeys(KEYS[:: len(KEYS) // count], OTHER))
        large.loads.clear()
        assert len(changes(large, new)) == count
        assert large.loads.total() <= count * heights
        assert new.loads.total() <= count * heights


def test_no_node_is_loaded_twice(large):
    new = Nodes({key: OTHER if number % 3 else ONE for number, key in enumerate(KEYS) if number % 5})
    large.loads.clear()
    assert len(changes(large, new)) > 10_000
    assert set(large.loads.values()) == set(new.loads.values()) == {1}


def test_what_hangs_under_a_root_that_moved_deeper_is_not_loaded():
    """A higher key puts new nodes above the old root; it is opened, as it alone tells its height, and nothing else."""
    low = {key: ONE for key in KEYS[:200] if key_height(key) <= 1}
    top = next(key for key in keys_at_height(4) if key > max(low))
    old, new = Nodes(low), Nodes(low | {top: OTHER})
    assert old.root in new
    assert len(old) > 20
    assert changes(old, new) == [Change(top, None, OTHER)]
    assert list(old.loads) == [old.root]
    assert new.loads.keys() == new.keys() - old.keys() | {old.root}


def test_changes_come_as_they_are_found(large):
    """The second half of a tree is not looked at before the first half's changes are out."""
    new = Nodes(TREE | {KEYS[0]: OTHER, KEYS[-1]: OTHER})
    found = diff(large.root, large.load, new.root, new.load)
    large.loads.clear()
    assert next(found).key == KEYS[0]
    before = large.loads.total()
    assert next(found).key == KEYS[-1]
    assert large.loads.total() > before


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_node_that_is_missing_is_what_the_loader_says(large, side):
    other = Nodes(TREE | {KEYS[0]: OTHER})
    cut = Nodes(TREE | {KEYS[0]: cid_of(b"third")})
    del cut[parse_node(cut[cut.root]).left or b""]
    pair = (cut, other) if side == "old" else (other, cut)
    with pytest.raises(KeyError):
        changes(*pair)


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_node_that_is_wrong_is_refused_by_its_cid(large, side):
    bad = Nodes({})
    data = dag_cbor.encode({"e": [{"k": KEYS[0], "p": 0, "t": None, "v": ONE}], "l": bad.root})
    bad.root = cid_of(data)
    bad[bad.root] = data
    with pytest.raises(MstError) as caught:
        changes(*((bad, large) if side == "old" else (large, bad)))
    assert caught.value.node in bad
