"""The difference of two trees is the difference of what is in them, whatever that is."""

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.mst import Change, build, build_sorted, diff, key_height
from eurosky_pipeline_tests.builders import keys_at_height

# Keys of all heights up to 4 in about equal numbers, so that small trees are deep too.
POOL = [key for height in range(5) for key, _ in zip(keys_at_height(height), range(16), strict=False)]
HEIGHTS = 5
pooled = st.sampled_from(POOL)
any_keys = st.from_regex(rb"[A-Za-z0-9._:~-]{1,8}/[A-Za-z0-9._:~-]{1,8}", fullmatch=True)
values = st.sampled_from([cid_of(b"1"), cid_of(b"2"), cid_of(b"3")])
trees = st.dictionaries(pooled | any_keys, values, max_size=40)


class Nodes(dict[bytes, bytes]):
    def __init__(self, tree: dict[bytes, Cid]) -> None:
        self.loads: Counter[bytes] = Counter()
        self.root = build(tree.items(), self.__setitem__)

    def load(self, cid: bytes) -> bytes:
        self.loads[cid] += 1
        return self[cid]


def difference(old: dict[bytes, Cid], new: dict[bytes, Cid]) -> list[Change]:
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [Change(key, old.get(key), new.get(key)) for key in keys]


@given(trees, trees)
@example({}, {})
@example({POOL[0]: cid_of(b"1")}, {POOL[-1]: cid_of(b"1")})
def test_the_difference_of_two_trees_is_that_of_their_contents_in_key_order(old, new):
    one, other = Nodes(old), Nodes(new)
    assert list(diff(one.root, one.load, other.root, other.load)) == difference(old, new)
    assert max([*one.loads.values(), *other.loads.values(), 1]) == 1


@given(trees, st.dictionaries(pooled, values, max_size=3), st.sets(pooled, max_size=3))
def test_a_few_changes_of_a_tree_are_found_in_few_of_its_nodes(old, put, removed):
    new = {key: value for key, value in (old | put).items() if key not in removed}
    one, other = Nodes(old), Nodes(new)
    found = list(diff(one.root, one.load, other.root, other.load))
    assert found == difference(old, new)
    heights = 1 + max(map(key_height, [*old, *new]), default=0)
    for nodes in (one, other):
        assert nodes.loads.total() <= (2 * len(found)) * (heights + 1)


@given(trees, trees, trees)
def test_differences_add_up(first, second, third):
    """What leads from the first tree to the second and on to the third leads from the first to the third."""
    nodes = [Nodes(tree) for tree in (first, second, third)]
    tree = dict(first)
    for one, other in (nodes[:2], nodes[1:]):
        for change in diff(one.root, one.load, other.root, other.load):
            assert tree.pop(change.key, None) == change.old
            if change.new is not None:
                tree[change.key] = change.new
    assert tree == third


@given(trees)
def test_building_in_order_and_in_any_order_is_the_same(tree):
    nodes: dict[Cid, bytes] = {}
    assert build_sorted(sorted(tree.items()), nodes.__setitem__) == Nodes(tree).root
    assert nodes == Nodes(tree)
