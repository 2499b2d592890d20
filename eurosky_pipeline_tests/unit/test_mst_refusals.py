"""Trees that are not the canonical one for their keys: each is refused, and the node at fault is named.

The blocks here are sound DAG-CBOR and hash to their CIDs: only the shape is wrong.
"""

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.mst import Entry, MstError, Node, encode_node, parse_node, walk
from eurosky_pipeline_tests.builders import keys_at_height

LEAF = cid_of(b"record")
TOP = next(keys_at_height(2))


def keys_above(key: bytes, height: int, count: int) -> list[bytes]:
    """The next `count` keys at this height, each greater than the one before."""
    above = (candidate for candidate in keys_at_height(height) if candidate > key)
    return [next(above) for _ in range(count)]


class Forest(dict[bytes, bytes]):
    """Nodes by CID, put in by hand."""

    def plant(self, *keys: bytes, left: Cid | None = None, right: dict[bytes, Cid] | None = None) -> Cid:
        """A node with these keys in this order, and a subtree to the left or to the right of a key."""
        return self.put(encode_node(Node(left, tuple(Entry(key, LEAF, (right or {}).get(key)) for key in keys))))

    def put(self, data: bytes) -> Cid:
        cid = cid_of(data)
        self[cid] = data
        return cid

    def keys_under(self, root: Cid) -> list[bytes]:
        return [key for key, _ in walk(root, self.__getitem__)]


@pytest.fixture
def forest() -> Forest:
    return Forest()


def refused(forest: Forest, root: Cid, *, at: Cid, because: str) -> None:
    with pytest.raises(MstError, match=because) as caught:
        forest.keys_under(root)
    assert caught.value.node == at


LOW, HIGH = keys_above(TOP, 1, 2)  # two keys of height 1, and of height 0 some before, between and after them
BEFORE = next(keys_at_height(0))
BETWEEN = [key for key in keys_above(LOW, 0, 200) if key < HIGH]
AFTER = keys_above(HIGH, 0, 2)


def test_the_helper_plants_trees_that_are_walked(forest):
    children = {LOW: forest.plant(*BETWEEN), HIGH: forest.plant(*AFTER)}
    root = forest.plant(LOW, HIGH, left=forest.plant(BEFORE), right=children)
    assert forest.keys_under(root) == [BEFORE, LOW, *BETWEEN, HIGH, *AFTER]


def test_keys_out_of_order_in_one_node(forest):
    root = forest.plant(HIGH, LOW)
    refused(forest, root, at=root, because="out of order")


def test_one_key_twice_in_one_node(forest):
    root = forest.plant(LOW, LOW)
    refused(forest, root, at=root, because="out of order")


def test_a_left_subtree_that_reaches_past_the_next_key(forest):
    child = forest.plant(BEFORE, *AFTER)
    refused(forest, forest.plant(LOW, left=child), at=child, because="out of order")


def test_a_right_subtree_that_begins_before_its_key(forest):
    child = forest.plant(BEFORE, *BETWEEN)
    refused(forest, forest.plant(LOW, right={LOW: child}), at=child, because="out of order")


def test_a_middle_subtree_that_reaches_past_the_next_key(forest):
    child = forest.plant(*BETWEEN, *AFTER)
    refused(forest, forest.plant(LOW, HIGH, right={LOW: child}), at=child, because="out of order")


def test_a_grandchild_that_leaves_the_bounds_of_its_grandparents_keys(forest):
    lowest = forest.plant(BEFORE)
    bridge = forest.plant(left=lowest)
    refused(forest, forest.plant(TOP, right={TOP: bridge}), at=lowest, because="out of order")


def test_the_same_subtree_on_both_sides_of_a_key(forest):
    child = forest.plant(BEFORE)
    refused(forest, forest.plant(LOW, left=child, right={LOW: child}), at=child, because="out of order")


def test_a_key_that_belongs_lower(forest):
    root = forest.plant(LOW, BETWEEN[0])
    refused(forest, root, at=root, because="stands at height 1")


def test_a_key_that_belongs_higher(forest):
    child = forest.plant(BETWEEN[0], HIGH)
    refused(forest, forest.plant(LOW, right={LOW: child}), at=child, because="stands at height 0")


def test_a_subtree_hung_in_without_the_node_between(forest):
    child = forest.plant(*AFTER)
    refused(forest, forest.plant(TOP, right={TOP: child}), at=child, because="stands at height 1")


def test_a_node_below_height_0(forest):
    lowest = forest.plant(*AFTER)
    root = forest.plant(BEFORE, right={BEFORE: lowest})
    refused(forest, root, at=lowest, because="below height 0")


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_empty_node_that_is_not_the_root(forest, side):
    empty = forest.plant()
    root = forest.plant(LOW, left=empty) if side == "left" else forest.plant(LOW, right={LOW: empty})
    refused(forest, root, at=empty, because="is empty")


def test_a_root_without_entries_above_a_tree(forest):
    root = forest.plant(left=forest.plant(LOW))
    refused(forest, root, at=root, because="root node holds no entry")


def test_a_chain_of_nodes_without_entries_ends_at_height_0(forest):
    """No file can hold a cycle of hashes, but a loader that always gives the same node comes to the same."""
    endless = encode_node(Node(LEAF, ()))
    root = forest.plant(TOP, left=LEAF)
    loads = []
    with pytest.raises(MstError, match="below height 0"):
        list(walk(root, lambda cid: loads.append(cid) or (endless if cid == LEAF else forest[cid])))
    assert len(loads) == 3


def test_a_missing_node_is_what_the_loader_says(forest):
    root = forest.plant(LOW, left=LEAF)
    with pytest.raises(KeyError):
        forest.keys_under(root)


def test_nothing_of_a_node_is_handed_out_before_all_of_it_is_checked(forest):
    root = forest.plant(LOW, HIGH, AFTER[0])
    with pytest.raises(MstError):
        next(walk(root, forest.__getitem__))


@pytest.mark.parametrize("below", [False, True], ids=["root", "child"])
def test_a_block_that_is_no_node_is_named(forest, below):
    bad = forest.put(dag_cbor.encode({"e": []}))
    refused(forest, forest.plant(LOW, left=bad) if below else bad, at=bad, because="fields e and l")
    bad = forest.put(b"\xff")
    refused(forest, forest.plant(LOW, left=bad) if below else bad, at=bad, because="DAG-CBOR")


ROW = {"p": 0, "k": LOW, "v": LEAF, "t": None}
BAD_ROWS = {
    "a field too many": ("fields k, p, t and v", [ROW | {"x": 1}]),
    "a field too few": ("fields k, p, t and v", [{key: ROW[key] for key in "pkv"}]),
    "a row that is a list": ("fields k, p, t and v", [[0, LOW, LEAF, None]]),
    "prefix length true": ("wrong kind", [ROW | {"p": True}]),
    "prefix length negative": ("shares more", [ROW | {"p": -1}]),
    "prefix of a first key": ("shares more", [ROW | {"p": 1}]),
    "prefix longer than the key before": ("shares more", [ROW, ROW | {"p": len(LOW) + 1, "k": b"x"}]),
    "prefix not used": ("all that it could", [ROW, ROW | {"k": HIGH}]),
    "prefix shorter by one": ("all that it could", [ROW, ROW | {"p": len(LOW) - 1, "k": LOW[-1:] + b"x"}]),
    "the key before, whole": ("out of order", [ROW, ROW | {"p": len(LOW), "k": b""}]),
    "the key before, cut": ("out of order", [ROW, ROW | {"p": len(LOW) - 1, "k": b""}]),
    "key as text": ("wrong kind", [ROW | {"k": LOW.decode()}]),
    "key as link": ("wrong kind", [ROW | {"k": LEAF}]),
    "empty key": ("not a key", [ROW | {"k": b""}]),
    "key of one segment": ("not a key", [ROW | {"k": b"rkey"}]),
    "value null": ("wrong kind", [ROW | {"v": None}]),
    "value as bytes": ("wrong kind", [ROW | {"v": bytes(LEAF)}]),
    "value a raw block": ("wrong kind", [ROW | {"v": cid_of(b"", CODEC_RAW)}]),
    "subtree as bytes": ("neither a link", [ROW | {"t": bytes(LEAF)}]),
    "subtree a raw block": ("neither a link", [ROW | {"t": cid_of(b"", CODEC_RAW)}]),
    "subtree false": ("neither a link", [ROW | {"t": False}]),
}


@pytest.mark.parametrize(("because", "rows"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_row_that_is_not_in_its_one_form(because, rows):
    with pytest.raises(MstError, match=because):
        parse_node(dag_cbor.encode({"l": None, "e": rows}))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"e": []},
        {"l": None},
        {"e": [], "l": None, "x": 1},
        {"e": {}, "l": None},
        {"e": None, "l": None},
        {"e": [], "l": False},
        {"e": [], "l": cid_of(b"", CODEC_RAW)},
    ],
)
def test_a_value_that_is_not_a_node(value):
    with pytest.raises(MstError):
        parse_node(dag_cbor.encode(value))
