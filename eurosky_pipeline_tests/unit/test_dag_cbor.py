"""DAG-CBOR: every kind of CBOR that it does not have is refused, in both directions."""

import datetime
import decimal
import uuid

import cbor2
import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.dag_cbor import MAX_DEPTH, CborError, decode, encode

LINK = cid_of(b"block")
LINK_HEX = "d82a582500" + LINK.hex()

KNOWN = [
    (None, "f6"),
    (False, "f4"),
    (True, "f5"),
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    (2**32, "1b0000000100000000"),
    (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-(2**64), "3bffffffffffffffff"),
    ("", "60"),
    ("ü", "62c3bc"),
    (b"", "40"),
    (b"\x01\x02", "420102"),
    ([], "80"),
    ([1, [2]], "82018102"),
    ({}, "a0"),
    ({"b": 1, "aa": 2}, "a261620162616102"),
    (LINK, LINK_HEX),
]

REFUSED = {
    "nothing": "",
    "trailing byte": "0000",
    "trailing break": "f6ff",
    "break alone": "ff",
    "cut integer": "19ff",
    "cut string": "6261",
    "cut list": "8201",
    "cut map": "a16161",
    "indefinite list": "9f01ff",
    "indefinite map": "bf616101ff",
    "indefinite string": "7f6161ff",
    "indefinite bytes": "5f4101ff",
    "duplicate keys": "a2616101616102",
    "equal duplicate keys": "a2616101616101",
    "keys out of order": "a2616201616102",
    "longer key first, as if sorted by bytes alone": "a262616102616201",
    "integer key": "a10001",
    "bytes key": "a1416101",
    "null key": "a1f601",
    "list key": "a18001",
    "link key": f"a1{LINK_HEX}01",
    "long zero": "1800",
    "long 23": "1817",
    "long 255": "1900ff",
    "long 65535": "1a0000ffff",
    "long 2**32-1": "1b00000000ffffffff",
    "long negative": "3800",
    "long string length": "780161",
    "long bytes length": "580161",
    "long list length": "980100",
    "long map length": "b801616100",
    "long tag": f"d9002a{LINK_HEX[4:]}",
    "reserved length": "1c",
    "float16": "f93e00",
    "float32": "fa3fc00000",
    "float64": "fb3ff8000000000000",
    "whole float64": "fb3ff0000000000000",
    "nan": "fb7ff8000000000000",
    "infinity": "fb7ff0000000000000",
    "undefined": "f7",
    "simple 0": "e0",
    "simple 255": "f8ff",
    "long true": "f815",
    "invalid utf-8": "62c328",
    "surrogate in utf-8": "63eda080",
    "overlong utf-8": "62c080",
    "link without zero byte": "d82a5824" + LINK.hex(),
    "link to nothing": "d82a4100",
    "link as text": "d82a6100",
    "link to a cut CID": "d82a582400" + LINK[:-1].hex(),
    "link to a long CID": "d82a582600" + LINK.hex() + "00",
    "link with codec dag-pb": "d82a58250001701220" + LINK.digest.hex(),
    "link with hash blake3": "d82a58250001711e20" + LINK.digest.hex(),
    "link in a link": f"d82a{LINK_HEX}",
}


@pytest.mark.parametrize(("value", "encoded"), KNOWN)
def test_known_values_are_written_and_read(value, encoded):
    assert encode(value).hex() == encoded
    decoded = decode(bytes.fromhex(encoded))
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("around", ["{}", "81{}", "a16161{}", "81a1616181{}"], ids=["bare", "list", "map", "deep"])
def test_what_is_not_dag_cbor_is_refused_wherever_it_stands(encoded, around):
    with pytest.raises(CborError):
        decode(bytes.fromhex(around.format(encoded)))


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 24, 28, 29, 30, 35, 37, 41, 43, 256, 258, 260, 55799, 2**32])
def test_every_tag_but_the_link_is_refused_by_its_number(tag):
    with pytest.raises(CborError, match=rf"tag {tag}\b"):
        decode(cbor2.dumps(cbor2.CBORTag(tag, b"\1")))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param("d81c81d81d00", id="a list that holds itself"),
        pytest.param("d81ca16161d81d00", id="a map that holds itself"),
        pytest.param("82d81c81d81c80" + "d81d00" * 8, id="the same value many times"),
        pytest.param("d90100826461616161d81900", id="a string by reference"),
        pytest.param("c4821b7fffffffffffffff01", id="a decimal with a vast exponent"),
    ],
)
def test_tags_that_build_cycles_or_giants_are_never_acted_upon(hostile):
    with pytest.raises(CborError, match=r"tag \d+, where only links"):
        decode(bytes.fromhex(hostile))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xd8\x2a", b"\xd8\x1c", b"\x9f"])
def test_nesting_without_end_is_refused_at_once(opening):
    with pytest.raises(CborError):
        decode(opening * 100_000)


def test_nesting_is_allowed_down_to_the_limit():
    data = b"\x81" * (MAX_DEPTH - 1) + b"\x80"
    assert encode(decode(data)) == data
    with pytest.raises(CborError, match="depth"):
        decode(b"\x81" * (MAX_DEPTH + 10) + b"\x80")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("head", ["5b", "7b", "9b", "bb"])
def test_a_giant_length_is_refused_without_the_memory_for_it(head):
    with pytest.raises(CborError):
        decode(bytes.fromhex(head + "7fffffffffffffff") + b"\0" * 100)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        0.0,
        float("nan"),
        float("inf"),
        2**64,
        -(2**64) - 1,
        {1: 2},
        {b"a": 1},
        {None: 1},
        {LINK: 1},
        (1, 2),
        {1},
        bytearray(b"x"),
        "\ud800",
        cbor2.undefined,
        cbor2.CBORSimpleValue(0),
        cbor2.CBORTag(42, b"\0" + LINK),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2020, 1, 1),
        decimal.Decimal("1.5"),
        uuid.UUID(int=0),
        pytest.param(object(), id="object()"),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"a": [{"b": v}]}], ids=["bare", "list", "deep"]
)
def test_a_value_that_dag_cbor_does_not_have_is_not_written(value, wrap):
    with pytest.raises(CborError):
        encode(wrap(value))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("count", [1, 2])
def test_a_list_that_holds_itself_is_not_written(count):
    value = []
    value.extend([value] * count)
    with pytest.raises(CborError):
        encode(value)
    value = {}
    value.update({str(n): [value] for n in range(count)})
    with pytest.raises(CborError):
        encode(value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}, lambda value: (value,)])
def test_a_value_too_deep_to_be_read_again_is_not_written(wrap):
    """Deeper still, and the encoder beneath would end the process."""
    for depth in (MAX_DEPTH + 1, 5_000, 100_000):
        value = 0
        for _ in range(depth):
            value = wrap(value)
        with pytest.raises(CborError):
            encode(value)
        while type(value) is not int:  # taken apart here: the interpreter does it recursively
            (value,) = value.values() if type(value) is dict else value


def test_keys_are_written_shorter_first_then_by_bytes():
    keys = ["b", "a", "aa", "", "Z", "é", "ab"]
    assert list(decode(encode(dict.fromkeys(keys, 0)))) == ["", "Z", "a", "b", "aa", "ab", "é"]


LINKED = cid_of(b"linked")


@pytest.mark.parametrize("work", [decode, lambda _: encode({"a": LINKED})], ids=["decode", "encode"])
def test_an_interruption_while_a_link_is_made_is_no_fault_of_the_data(monkeypatch, work):
    data = encode({"a": LINKED})

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(dag_cbor._TAGS, 42, interrupt)
    monkeypatch.setitem(dag_cbor._ENCODERS, Cid, interrupt)
    with pytest.raises(KeyboardInterrupt):
        work(data)
