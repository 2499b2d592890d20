"""What is read as DAG-CBOR is exactly what is canonical: by a plain parser, by encoding again, and by every liberty.

Two judges that share no code with it say what is canonical: `plain_cbor`, and cbor2's encoder, whose answer must be
the very bytes that were read.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.dag_cbor import CborError, decode, encode
from eurosky_pipeline_tests import plain_cbor

cids = st.builds(cid_of, st.binary(max_size=2), st.sampled_from([CODEC_DAG_CBOR, CODEC_RAW]))
# around the borders of each width of a head
numbers = st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1])
integers = numbers | numbers.map(lambda number: -1 - number)
sizes = st.sampled_from([0, 1, 23, 24, 25, 255, 256, 257])
strings = sizes.map(lambda size: "x" * size) | st.text(max_size=4)
scalars = st.none() | st.booleans() | integers | strings | sizes.map(bytes) | cids
wide = sizes.map(lambda size: [0] * size) | sizes.map(lambda size: {f"{n:03}": None for n in range(size)})
values = st.recursive(
    scalars | wide,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)

Liberty = tuple[str, int]
_MAJOR = {int: 0, bytes: 2, str: 3, list: 4, dict: 5}


class Speller:
    """Spells a value as canonical DAG-CBOR, but takes one liberty at one of its places.

    `places` counts where one could be taken, `is_taken` says whether it was.
    """

    def __init__(self, at: int = -1, liberty: Liberty = ("none", 0)) -> None:
        self._at, self._liberty = at, liberty
        self.places = 0
        self.is_taken = False

    def spell(self, value: Any) -> bytes:
        kind, more = self._liberty if self.places == self._at else ("none", 0)
        self.places += 1
        if value is None or type(value) is bool:
            word = {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
            return self._take(b"\xf8" + bytes([word[0] & 31])) if kind == "wider" and more == 1 else word
        if type(value) is Cid:
            return self._spell_link(value, kind, more)
        if type(value) is int:
            return self._head(0, value, kind, more) if value >= 0 else self._head(1, -1 - value, kind, more)
        if type(value) in (bytes, str):
            raw = value if type(value) is bytes else value.encode()
            major = _MAJOR[type(value)]
            if kind == "indefinite":
                return self._take(bytes([major << 5 | 31]) + self._head(major, len(raw)) + raw + b"\xff")
            return self._head(major, len(raw), kind, more) + raw
        rows = [self.spell(item) for item in value] if type(value) is list else self._spell_rows(value, kind, more)
        body = b"".join(rows)
        if kind == "indefinite":
            return self._take(bytes([_MAJOR[type(value)] << 5 | 31]) + body + b"\xff")
        return self._head(_MAJOR[type(value)], len(rows), kind, more) + body

    def _spell_rows(self, value: dict[str, Any], kind: str, more: int) -> list[bytes]:
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        rows = [self.spell(key) + self.spell(value[key]) for key in keys]
        if kind == "swapped" and len(rows) > more:
            rows[more - 1 : more + 1] = self._take(rows[more]), rows[more - 1]
        if kind == "twice" and rows:
            rows.append(self._take(rows[-1]))
        return rows

    def _spell_link(self, value: Cid, kind: str, more: int) -> bytes:
        if kind == "wider" and more <= 2:  # the tag's own head is two bytes already
            tag = self._take(bytes([6 << 5 | 24 + more]) + (42).to_bytes(1 << more, "big"))
        else:
            tag = b"\xd8\x2a"
        return tag + b"\x58\x25\0" + value

    def _head(self, major: int, argument: int, kind: str = "none", more: int = 0) -> bytes:
        width = next(n for n, limit in enumerate((24, 1 << 8, 1 << 16, 1 << 32, 1 << 64)) if argument < limit)
        if kind == "wider" and width + more <= 4:
            width += more
            self.is_taken = True
        if width == 0:
            return bytes([major << 5 | argument])
        return bytes([major << 5 | 23 + width]) + argument.to_bytes(1 << width - 1, "big")

    def _take(self, spelled: bytes) -> bytes:
        self.is_taken = True
        return spelled


LIBERTIES: list[Liberty] = [
    *(("wider", more) for more in (1, 2, 3, 4)),
    ("indefinite", 0),
    ("swapped", 1),
    ("swapped", 2),
    ("twice", 0),
]


def liberties_with(value: Any) -> Iterator[tuple[Liberty, bytes]]:
    speller = Speller()
    speller.spell(value)
    for place in range(min(speller.places, 30)):
        for liberty in LIBERTIES:
            taken = Speller(place, liberty)
            spelled = taken.spell(value)
            if taken.is_taken:
                yield liberty, spelled


def encoded_again(data: bytes) -> bool:
    """Whether cbor2 writes these very bytes for what it reads in them, without a word of ours."""

    def write_link(encoder: cbor2.CBOREncoder, link: plain_cbor.Link) -> None:
        encoder.encode_semantic(42, b"\0" + link)

    value = plain_cbor.read(data)
    return cbor2.dumps(value, canonical=True, encoders={plain_cbor.Link: write_link}) == data


def agree(data: bytes) -> bool:
    """Whether the bytes are canonical, which must be the same by everybody. And so must the value."""
    try:
        found = decode(data)
    except CborError:
        assert not plain_cbor.is_canonical(data)
        return False
    assert found == plain_cbor.read(data)
    assert encoded_again(data)
    assert encode(found) == data
    return True


@settings(max_examples=40)
@given(values)
@example([0] * 24)
@example({f"{n:02}": 0 for n in range(24)})
@example([True, False, None, -1, "", b"", [], {}, cid_of(b"")])
def test_a_value_has_one_spelling_and_with_any_one_liberty_it_is_refused(value):
    spelled = Speller().spell(value)
    assert encode(value) == spelled
    assert agree(spelled)
    for liberty, other in liberties_with(value):
        assert other != spelled, liberty
        assert not agree(other), liberty


@pytest.mark.parametrize("count", range(22, 28))
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda count: (4, [b"\x00"] * count), id="list"),
        pytest.param(lambda count: (5, [b"\x62%02d\x00" % n for n in range(count)]), id="map"),
        pytest.param(lambda count: (2, [b"\x41x"] * count), id="bytes"),
        pytest.param(lambda count: (3, [b"\x61x"] * count), id="text"),
    ],
)
def test_an_indefinite_length_is_refused_also_where_it_is_as_long_as_the_canonical_one(
    count: int, rows: Callable[[int], tuple[int, list[bytes]]]
):
    """From 24 items on the break at the end is what a second byte of the head would be."""
    major, spelled = rows(count)
    indefinite = bytes([major << 5 | 31]) + b"".join(spelled) + b"\xff"
    if major in (4, 5):
        canonical = dag_cbor.head(major, count) + b"".join(spelled)
        assert agree(canonical)
        assert (len(indefinite) == len(canonical)) == (count >= 24)
    assert not agree(indefinite)
    assert not agree(b"\x81" + indefinite)


@pytest.mark.parametrize("major", range(8))
def test_a_head_of_any_major_type_is_in_its_shortest_form_or_refused(major):
    widths = {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}
    arguments = [0, 1, 20, 23, 24, 42, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32]
    for code, (width, least) in enumerate(widths.items(), start=24):
        for argument in arguments:
            if argument >= 1 << 8 * width:
                continue
            head = bytes([major << 5 | code]) + argument.to_bytes(width, "big")
            if 2 <= major <= 5 and argument > 65_536:
                assert not agree(head + b"\0" * 100)
                continue
            payload = b""
            if major in (2, 3, 4):
                payload = bytes(argument)
            elif major == 5:
                payload = b"".join(b"\x65%05d\x00" % n for n in range(argument))
            elif major == 6:
                payload = b"\x58\x25\0" + cid_of(b"")
            is_canonical = argument >= least and (major < 6 or (major, argument) == (6, 42))
            assert agree(head + payload) == is_canonical, (width, argument)


@settings(max_examples=150)
@given(values, st.data())
def test_mutated_encodings_are_read_exactly_if_everybody_calls_them_canonical(value, data):
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(0, len(encoded) - 1)))
        match data.draw(st.sampled_from(["set", "add", "cut", "copy"])):
            case "set" if encoded:
                encoded[place] = data.draw(st.integers(0, 255))
            case "add":
                encoded.insert(place, data.draw(st.integers(0, 255)))
            case "cut":
                del encoded[place : place + data.draw(st.integers(1, 3))]
            case "copy":
                encoded[place:place] = encoded[data.draw(st.integers(0, len(encoded))) :][:40]
    agree(bytes(encoded))


@settings(max_examples=500)
@given(st.lists(st.sampled_from([bytes([byte]) for byte in range(256)]) | st.just(dag_cbor.LINK_HEAD), max_size=12))
def test_short_strings_of_bytes_are_read_exactly_if_everybody_calls_them_canonical(parts):
    agree(b"".join(parts))


@pytest.mark.parametrize("tail", [b"", b"\x00", b"\x61a", b"\xff"])
def test_every_two_bytes_are_read_exactly_if_everybody_calls_them_canonical(tail):
    accepted = sum(agree(bytes([first, second]) + tail) for first in range(256) for second in range(256))
    if tail == b"":
        in_one_byte = 24 + 24 + 3 + 4  # numbers of both signs, the three words, and what is empty
        in_a_list = in_one_byte
        assert accepted == 2 * (256 - 24) + 256 + 128 + in_a_list  # numbers; one byte; one character


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a"])
@pytest.mark.parametrize(
    ("inner", "levels"),
    [(b"\x80", 0), (b"\xa0", 0), (b"\x00", 0), (b"\x81\x00", 1), (dag_cbor.LINK_HEAD + cid_of(b""), 1)],
)
def test_the_depth_that_is_read_and_the_depth_that_is_written_are_the_same(opening, inner, levels):
    for depth in range(dag_cbor.MAX_DEPTH - 3, dag_cbor.MAX_DEPTH + 4):
        is_allowed = depth + levels <= dag_cbor.MAX_DEPTH
        assert agree(opening * depth + inner) == is_allowed
        value: Any = decode(inner)
        for _ in range(depth):
            value = [value] if opening == b"\x81" else {"a": value}
        if is_allowed:
            assert encode(value) == opening * depth + inner
        else:
            with pytest.raises(CborError, match="in each other"):
                encode(value)


class TestKnownMaps:
    """Maps whose keys were seen before are not looked at again: that may neither let anything in nor grow."""

    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dag_cbor, "_KNOWN_MAPS", {})

    def test_a_map_that_is_known_in_its_order_is_still_refused_in_another(self):
        assert agree(b"\xa2\x61a\x01\x61b\x02")
        assert not agree(b"\xa2\x61b\x01\x61a\x02")
        assert not agree(b"\xa2\x61a\x01\x61a\x02")
        assert agree(b"\xa2\x61a\x03\x61b\x04")

    def test_a_map_that_was_written_from_another_order_is_not_known_in_that_order(self):
        assert encode({"b": 1, "a": 2}) == b"\xa2\x61a\x02\x61b\x01"
        assert not agree(b"\xa2\x61b\x01\x61a\x02")

    def test_a_known_map_with_a_key_or_a_length_not_in_its_shortest_form_is_refused(self):
        assert agree(b"\xa1\x61a\x01")
        for other in (b"\xa1\x78\x01a\x01", b"\xb8\x01\x61a\x01", b"\xa1\x61a\x18\x01", b"\xbf\x61a\x01\xff"):
            assert not agree(other)

    def test_what_is_remembered_does_not_follow_what_is_read(self):
        for number in range(5_000):
            decode(encode({f"{number:05}": 0, "z": 1}))
        assert len(dag_cbor._KNOWN_MAPS) <= 2_000

    def test_what_is_remembered_of_one_map_does_not_follow_its_size(self):
        for number in range(50):
            decode(encode(dict.fromkeys((f"{number:03}{n:03}" for n in range(300)), 0)))
            decode(encode({f"{number:03}" * 1_000: 0}))
        assert dag_cbor._KNOWN_MAPS == {}
