"""The builder takes its keys in their order, and holds no more of the tree than the path to the last of them."""

import tracemalloc
from collections.abc import Iterator

import pytest

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.mst import MstError, build, build_sorted, key_height, parse_node

LEAF, OTHER = cid_of(b"record"), cid_of(b"other")


def some_keys(count: int) -> list[bytes]:
    return [f"app.bsky.feed.like/{number:06}".encode() for number in range(count)]


def refuse(_cid: Cid, _data: bytes) -> None:
    raise AssertionError("no node can be complete yet")


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        pytest.param([b"a/2", b"a/1"], "'a/1' comes after 'a/2'", id="falling"),
        pytest.param([b"a/1", b"a/3", b"a/2"], "'a/2' comes after 'a/3'", id="falling at the end"),
        pytest.param([b"a/1", b"a/1"], "'a/1' comes twice", id="twice"),
        pytest.param([b"a/1", b"a/2", b"a/1"], "'a/1' comes after 'a/2'", id="twice, with another between"),
        pytest.param([b"a/b", b"a/B"], "'a/B' comes after 'a/b'", id="sorted as if case did not matter"),
        pytest.param([b"a/9", b"a/10"], "'a/10' comes after 'a/9'", id="sorted as numbers"),
        pytest.param([b"aa/b", b"a/bc"], "'a/bc' comes after 'aa/b'", id="sorted by segments"),
    ],
)
def test_keys_that_are_not_in_their_order_are_refused_by_name(keys, fault):
    with pytest.raises(MstError, match=fault):
        build_sorted(((key, LEAF) for key in keys), lambda *_: None)
    if len(set(keys)) == len(keys):
        build(((key, LEAF) for key in keys), lambda *_: None)


@pytest.mark.parametrize("key", [b"", b"a", b"a/b/c", b"a/\xff", b"a/" + b"x" * 1023])
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(MstError, match="not a key"):
        build_sorted([(key, LEAF)], refuse)


def test_the_same_key_with_another_record_is_refused_in_any_order():
    for pair in ([LEAF, OTHER], [OTHER, LEAF], [LEAF, LEAF]):
        with pytest.raises(MstError, match="twice"):
            build([(b"a/b", cid) for cid in pair], lambda *_: None)


def test_no_key_makes_the_one_empty_node():
    nodes: dict[Cid, bytes] = {}
    root = build_sorted([], nodes.__setitem__)
    assert nodes == {root: b"\xa2ae\x80al\xf6"}


def test_every_node_is_put_as_soon_as_no_more_keys_can_come_into_it():
    """What has been read and not yet put is a node a height, so that memory does not follow the number of keys."""
    keys, entries_put = some_keys(20_000), 0
    waiting: list[int] = []

    def feed() -> Iterator[tuple[bytes, Cid]]:
        for number, key in enumerate(keys):
            waiting.append(number - entries_put)
            yield key, LEAF

    def put(_cid: Cid, data: bytes) -> None:
        nonlocal entries_put
        entries_put += len(parse_node(data).entries)

    build_sorted(feed(), put)
    assert entries_put == len(keys)
    heights = max(map(key_height, keys)) + 1
    assert max(waiting) <= 10 * heights  # nodes hold four entries on the average


def test_the_memory_for_ten_times_as_many_keys_is_the_same():
    """The least of some measurements: what other threads of the test runner do meanwhile counts too."""

    def peak(keys) -> int:
        tracemalloc.start()
        try:
            build_sorted(((key, LEAF) for key in keys), lambda *_: None)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = some_keys(2_000), some_keys(20_000)
    build_sorted(((key, LEAF) for key in few[:100]), lambda *_: None)
    least, most = (min(peak(keys) for _ in range(3)) for keys in (few, many))
    assert most < 3 * least < 400_000
