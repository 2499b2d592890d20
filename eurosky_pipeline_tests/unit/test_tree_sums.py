"""Whether blocks are those of one tree, told by sums: yes for every such tree, no where one is missing or too many."""

from collections.abc import Iterable

import pytest

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import parse_commit
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node
from eurosky_pipeline.convert.tree_sums import TreeSums
from eurosky_pipeline_tests.builders import make_block, make_post, make_posts, make_repo

RECORDS = [make_block(make_post(f"number {number}"))[0] for number in range(4)]


def made(left: Cid | None, *entries: tuple[Cid, Cid | None]) -> bytes:
    """A node with keys of no matter."""
    keyed = (Entry(b"a.b.c/%d" % number, *links) for number, links in enumerate(entries))
    return encode_node(Node(left, tuple(keyed)))


def counted(
    root: Cid, nodes: list[bytes], records: Iterable[Cid], *, at_once: int = 1, is_each_single: bool = False
) -> int | None:
    sums = TreeSums()
    for start in range(0, len(nodes), at_once):
        together = nodes[start : start + at_once]
        sums.add([*map(cid_of, together)], together)
    cids = [*map(cid_of, nodes), *records]
    return sums.count_records(root, len(cids), sum(map(hash, cids)), is_each_single=is_each_single)


LEAF, OTHER_LEAF = made(None, (RECORDS[0], None)), made(None, (RECORDS[1], None), (RECORDS[2], None))
TOP = made(cid_of(LEAF), (RECORDS[3], cid_of(OTHER_LEAF)))
ROOT = cid_of(TOP)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_the_keys_of_a_whole_tree_are_counted(at_once):
    repo = make_repo(make_posts(300))
    nodes = [data for _, data in repo.nodes]
    records = [cid for cid, _ in repo.records.values()]
    root = parse_commit(repo.commit[1]).data
    assert counted(root, nodes, records, at_once=at_once) == 300
    assert counted(root, nodes[::-1], records, at_once=at_once) == 300


def test_the_empty_tree():
    empty = made(None)
    assert counted(cid_of(empty), [empty], []) == 0


def test_keys_that_share_a_record_are_all_counted():
    leaf = made(None, *[(RECORDS[0], None)] * 3, (RECORDS[1], None))
    assert counted(cid_of(leaf), [leaf], RECORDS[:2]) == 4


def test_what_is_missing_or_too_many_is_noticed():
    nodes = [TOP, LEAF, OTHER_LEAF]
    assert counted(ROOT, nodes, RECORDS) == 4
    for number in range(4):
        rest = RECORDS[:number] + RECORDS[number + 1 :]
        for more in ([], rest[:1], rest[:2], [cid_of(b"an orphan")], [RECORDS[number]] * 2):
            assert counted(ROOT, nodes, [*rest, *more]) is None
    for number in range(3):
        rest = nodes[:number] + nodes[number + 1 :]
        for more in ([], rest[:1], [made(None)], [nodes[number]] * 2):
            assert counted(ROOT, [*rest, *more], RECORDS) is None
    assert counted(cid_of(LEAF), nodes, RECORDS) is None


@pytest.mark.parametrize(
    ("top", "leaf"),
    [
        (made(cid_of(LEAF), (RECORDS[3], cid_of(LEAF))), LEAF),
        (made(None, (RECORDS[3], None), (cid_of(LEAF), None)), LEAF),
        (made(RECORDS[1], (RECORDS[3], cid_of(LEAF))), LEAF),
    ],
    ids=["a node twice", "a node as a record", "a record as a node"],
)
def test_what_is_linked_to_as_something_else_is_left_to_a_walk(top, leaf):
    linked = {cid: None for cid in (RECORDS[3], RECORDS[0], RECORDS[1]) if cid in top or cid in leaf}
    assert counted(cid_of(top), [top, leaf], linked) is None
