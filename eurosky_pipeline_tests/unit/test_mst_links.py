"""A node's links, read by its form alone: all of them, or a refusal; and how deep a conversion follows them."""

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.mst_node import Entry, Node, encode_node, parse_node, read_links
from eurosky_pipeline.errors import EuroskyError, IntegrityError
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    make_block,
    make_car,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
)
from eurosky_pipeline_tests.converting import convert

NODES = [data for _, data in make_repo(make_posts(200)).nodes]
RECORD, _ = make_block(make_post())
NODE = encode_node(Node(RECORD, (Entry(b"a.b.c/1", RECORD, None), Entry(b"a.b.c/2", RECORD, RECORD))))
SECOND = NODE.rindex(b"\xa4ak")


def test_they_are_those_of_the_strict_reading():
    for data in NODES:
        left, entries = parse_node(data)
        values, subtrees = read_links(data)
        assert values == [entry.value for entry in entries]
        assert sorted(subtrees) == sorted(link for link in (left, *(entry.right for entry in entries)) if link)


@pytest.mark.parametrize(
    "data",
    [
        NODE[:SECOND] + b"\xf6" + NODE[SECOND:],
        NODE[:3] + b"\x81" + NODE[4:],
        NODE[:3] + b"\x83" + NODE[4:],
        NODE.replace(b"\xd8\x2a\x58\x25", b"\xd8\x2a\x59\x00\x25", 1),
        NODE.replace(b"av\xd8\x2a\x58\x25", b"av\xd8\x2a\x59\x00\x25", 1),
        NODE[:3] + b"\x98\x02" + NODE[4:],
        NODE + b"\x00",
        NODE[:-1],
        NODE[:3],
        b"\xa2ae",
    ],
    ids=[
        "a byte between",
        "one fewer",
        "one more",
        "a long link",
        "a long value",
        "a long count",
        "a byte behind",
        "cut",
        "short",
        "3",
    ],
)
def test_what_has_not_the_form_of_a_node_is_refused_and_never_has_fewer_links(data):
    with pytest.raises(IntegrityError):
        read_links(data)


@pytest.mark.parametrize(("depth", "is_refused"), [(100, False), (140, True)])
def test_a_conversion_goes_no_deeper_than_a_tree_can_be(depth, is_refused):
    record, block = make_block(make_post(image=make_legacy_blob_ref()))
    node = encode_node(Node(None, (Entry(b"app.bsky.feed.post/1", record, None),)))
    blocks = [(record, block), (cid_of(node), node)]
    for _ in range(depth):
        node = encode_node(Node(cid_of(node), ()))
        blocks.append((cid_of(node), node))
    commit = encode_commit(Commit(DID, 3, cid_of(node), REV, None, VOID_SIGNATURE))
    car = make_car(cid_of(commit), [(cid_of(commit), commit), *blocks])
    if not is_refused:
        assert convert(car).data is None  # no size is known, and nothing changes
        return
    with pytest.raises(EuroskyError, match="deeper"):
        convert(car)
