"""A tree node is read exactly if it is one: what `parse_node` takes, `encode_node` writes, and a plain reader reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.dag_cbor import CborError
from eurosky_pipeline.atproto.mst_node import (
    MAX_KEY_BYTES,
    Entry,
    MstError,
    Node,
    encode_node,
    key_height,
    parse_node,
    shared_length,
)
from eurosky_pipeline_tests import plain_cbor

CIDS = [cid_of(b"%d" % n) for n in range(4)]
links = st.sampled_from(CIDS)
# few letters, so that keys share much; and sizes around the widths of a length
segments = st.text(st.sampled_from("ab.:~-_9apt"), min_size=1, max_size=6)
long_segments = st.integers(0, 300).map(lambda size: "ap" * size + "x") | st.just("a" * (MAX_KEY_BYTES - 2))
keys = st.builds(lambda one, other: f"{one}/{other}".encode(), segments, segments | long_segments).filter(
    lambda key: len(key) <= MAX_KEY_BYTES
)
nodes = st.builds(
    lambda left, entries: Node(left, tuple(Entry(key, *links) for key, links in sorted(entries.items()))),
    st.none() | links,
    st.dictionaries(keys, st.tuples(links, st.none() | links), max_size=30),
)


def agree(data: bytes) -> Node | None:
    """The node that these bytes are, if they are one, which must be the same by everybody."""
    try:
        node = parse_node(data)
    except (MstError, CborError):
        with pytest.raises(plain_cbor.NotCanonical):
            plain_cbor.read_node(data)
        return None
    left, entries = plain_cbor.read_node(data)
    assert node == Node(left, tuple(Entry(*entry) for entry in entries))  # type: ignore[arg-type]
    assert all(type(cid) is Cid for entry in node.entries for cid in entry[1:] if cid is not None)
    assert encode_node(node) == data
    assert dag_cbor.encode(dag_cbor.decode(data)) == data
    return node


def sample(left: Cid | None, *entries: tuple[bytes, Cid | None]) -> bytes:
    return encode_node(Node(left, tuple(Entry(key, CIDS[0], right) for key, right in entries)))


SAMPLES = {
    "empty": sample(None),
    "a subtree alone": sample(CIDS[1]),
    "one entry": sample(None, (b"a/b", None)),
    "shared prefixes": sample(CIDS[1], (b"ap/ap", None), (b"ap/apap", CIDS[2]), (b"ap/b", None), (b"b/a", None)),
    "a long key": sample(None, (b"a/" + b"b" * 22, None), (b"a/" + b"b" * 30, CIDS[3])),
    "a length of two bytes": sample(None, (b"a/" + b"b" * 300, None), (b"a/" + b"b" * 299 + b"c", None)),
    "24 entries": sample(None, *((b"a/%c" % n, None) for n in b"ABCDEFGHIJKLMNOPQRSTUVWX")),
}


@given(nodes)
def test_a_node_comes_back_as_it_was_written_and_as_a_plain_reader_reads_it(node):
    assert agree(encode_node(node)) == node


@settings(max_examples=300)
@given(nodes, st.data())
def test_mutated_nodes_are_read_exactly_if_a_plain_reader_takes_them(node, data):
    encoded = bytearray(encode_node(node))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.sampled_from(["set", "add", "cut", "copy"])):
            case "set":
                encoded[place] = data.draw(st.integers(0, 255))
            case "add":
                encoded.insert(place, data.draw(st.integers(0, 255)))
            case "cut":
                del encoded[place : place + data.draw(st.integers(1, 3))]
                encoded = encoded or bytearray(b"\0")
            case "copy":
                encoded[place:place] = encoded[data.draw(st.integers(0, len(encoded))) :][:60]
    agree(bytes(encoded))


@pytest.mark.parametrize("name", SAMPLES)
def test_with_any_one_byte_changed_a_node_is_another_one_or_none(name):
    """All 255 other values for each byte, but only some inside a digest, where any byte is as good as another."""
    data = SAMPLES[name]
    assert agree(data) is not None
    digests = {at + n for at in range(len(data)) if data.startswith(dag_cbor.LINK_HEAD, at) for n in range(10, 41)}
    is_long = len(data) > 400
    for place in [
        *range(min(len(data), 70)),
        *range(70, len(data) - 60, 9),
        *range(max(70, len(data) - 60), len(data)),
    ]:
        values = {0, 0x61, 0xFF} if place in digests or (is_long and 60 < place < len(data) - 60) else range(256)
        for value in values:
            if value != data[place]:
                assert agree(data[:place] + bytes([value]) + data[place + 1 :]) != parse_node(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_with_any_byte_taken_out_or_put_in_a_node_is_another_one_or_none(name):
    data = SAMPLES[name]
    for place in [*range(min(len(data) + 1, 200)), *range(200, len(data), 5)]:
        for other in (
            data[:place],
            data[:place] + data[place + 1 :],
            *(data[:place] + bytes([n]) + data[place:] for n in (0, 0x18, 0x61, 0x62)),
        ):
            if other != data:
                assert agree(other) != parse_node(data)


rows = st.fixed_dictionaries(
    {
        "k": st.sampled_from([b"", b"a", b"/", b"a/", b"a/b", b"/b", b"b", b"bb", b"c", b"a/b/c", b"a b", b"\xff"]),
        "p": st.integers(-1, 5) | st.sampled_from([True, None, 2**40]),
        "t": st.sampled_from([None, CIDS[1], cid_of(b"", CODEC_RAW), False, b""]),
        "v": st.sampled_from([CIDS[1], CIDS[2], cid_of(b"", CODEC_RAW), None]),
    }
) | st.fixed_dictionaries(
    {"k": st.sampled_from([b"a/b", b"c", b"b"]), "p": st.integers(0, 4), "t": st.none(), "v": links}
)


@settings(max_examples=500)
@given(st.lists(rows, max_size=4), st.none() | links)
def test_canonical_cbor_of_any_rows_is_a_node_exactly_if_a_plain_reader_takes_it(entries, left):
    agree(dag_cbor.encode({"e": entries, "l": left}))


@pytest.mark.parametrize("shared", [0, 2, MAX_KEY_BYTES - 10])
@pytest.mark.parametrize("over", [-1, 0, 1, 2])
def test_a_key_that_is_too_long_is_refused_however_much_of_it_is_shared(shared, over):
    first = b"a/" + b"b" * (MAX_KEY_BYTES - 10 - 2)
    key = first[:shared] + b"c" * (MAX_KEY_BYTES + over - shared)
    key = key if b"/" in key else b"b/" + key[2:]
    assert (agree(sample(None, (first, None), (key, None))) is None) == (over > 0)


@given(st.binary(max_size=30))
def test_bytes_of_any_kind_behind_the_beginning_of_a_node_are_judged_alike(tail):
    agree(b"\xa2ae" + tail)
    agree(b"\xa2ae\x81\xa4ak" + tail)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [0, 1, 23, 24, 255, 256])
def test_the_number_of_entries_has_one_form(count, width):
    body = b"".join(
        (b"\xa4ak\x45a/%03d" % 0 if n == 0 else b"\xa4ak\x43%03d" % n) + (b"ap%c" % (0 if n == 0 else 2))
        + b"at\xf6av" + dag_cbor.LINK_HEAD + CIDS[0]
        for n in range(count)
    )  # fmt: skip
    if count < 1 << 8 * width:
        head = bytes([{1: 0x98, 2: 0x99, 4: 0x9A, 8: 0x9B}[width]]) + count.to_bytes(width, "big")
        agree(b"\xa2ae" + head + body + b"al\xf6")
    agree(b"\xa2ae\x9f" + body + b"\xffal\xf6")
    agree(b"\xa2ae" + dag_cbor.head(4, count) + body + b"al\xf6")


@given(st.binary(max_size=20))
def test_a_keys_height_is_counted_bit_by_bit(key):
    assert key_height(key) == plain_cbor.height_of(key)


@given(keys, keys)
def test_what_two_keys_share_is_the_longest_common_beginning(one, other):
    shared = shared_length(one, other)
    assert one[:shared] == other[:shared]
    assert one[: shared + 1] != other[: shared + 1] or shared == min(len(one), len(other))
