"""Varints, CIDs and DAG-CBOR: what is written is read the same, and there is one way to write it."""

import io
import string

import cbor2
import multiformats
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, CODEC_RAW, Cid, CidError, cid_of, parse_cid
from eurosky_pipeline.atproto.dag_cbor import CborError, decode, encode
from eurosky_pipeline.atproto.varint import VarintError, encode_varint, read_varint

cids = st.builds(cid_of, st.binary(max_size=8), st.sampled_from([CODEC_DAG_CBOR, CODEC_RAW]))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text(max_size=30) | st.binary(max_size=30) | cids
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


def types_of(value):
    """The value with the type of everything in it: 1 and True are equal, and so are a CID and its bytes."""
    if isinstance(value, list):
        return [types_of(item) for item in value]
    if isinstance(value, dict):
        return {key: types_of(item) for key, item in value.items()}
    return (type(value), value)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_varints_one_after_another_are_read_back(numbers):
    stream = io.BytesIO(b"".join(map(encode_varint, numbers)))
    read = [read_varint(stream) for _ in numbers]
    assert read == [(number, len(encode_varint(number))) for number in numbers]
    assert read_varint(stream) is None


@given(st.integers(128, 2**63 - 1))
def test_a_cut_varint_is_an_error_not_the_end_of_the_stream(number):
    whole = encode_varint(number)
    for length in range(1, len(whole)):
        with pytest.raises(VarintError):
            read_varint(io.BytesIO(whole[:length]))


@given(st.binary(min_size=1, max_size=12))
def test_any_bytes_are_the_shortest_varint_or_an_error(data):
    try:
        number, length = read_varint(io.BytesIO(data))
    except VarintError:
        return
    assert encode_varint(number) == data[:length]


@settings(max_examples=50)
@given(cids)
def test_a_cid_survives_its_text_and_multiformats_agrees(cid):
    assert parse_cid(str(cid)) == cid
    assert bytes(multiformats.CID.decode(str(cid))) == cid


@given(cids, st.integers(0, 58), st.sampled_from(string.printable + "ſßé"))
def test_a_cid_with_one_other_character_is_another_cid_or_none(cid, place, character):
    text = str(cid)
    changed = text[:place] + character + text[place + 1 :]
    try:
        parsed = parse_cid(changed)
    except CidError:
        return
    assert str(parsed) == changed
    assert (parsed == cid) == (changed == text)


@given(st.text(max_size=80))
def test_any_text_is_a_cid_in_its_one_spelling_or_an_error(text):
    try:
        assert str(parse_cid(text)) == text
    except CidError:
        return


@given(values)
@example([{}, {"": None}, True, 1, b"", Cid(cid_of(b""))])
def test_a_value_survives_its_encoding_with_every_type(value):
    assert types_of(decode(encode(value))) == types_of(value)


@given(values, values)
def test_two_values_have_two_encodings(one, other):
    assert (encode(one) == encode(other)) == (types_of(one) == types_of(other))


@given(st.dictionaries(st.text(max_size=10), st.integers(0, 9), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_a_maps_keys_decides_nothing(mapping, random):
    items = list(mapping.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(mapping)


@settings(max_examples=300)
@given(st.binary(max_size=40) | values.map(encode))
def test_any_bytes_are_the_one_encoding_of_their_value_or_an_error(data):
    try:
        value = decode(data)
    except CborError:
        return
    assert encode(value) == data


@settings(max_examples=300)
@given(values, st.data())
def test_one_flipped_bit_is_another_value_or_an_error(value, data):
    encoded = bytearray(encode(value))
    place = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[place // 8] ^= 1 << place % 8
    try:
        decoded = decode(bytes(encoded))
    except CborError:
        return
    assert types_of(decoded) != types_of(value)


@given(values)
def test_a_cut_value_is_an_error(value):
    encoded = encode(value)
    for length in range(len(encoded)):
        with pytest.raises(CborError):
            decode(encoded[:length])


anything = st.recursive(
    scalars | st.floats() | st.integers() | st.just(cbor2.undefined) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300)
@given(anything)
def test_any_python_value_is_written_so_that_it_can_be_read_or_not_at_all(value):
    try:
        data = encode(value)
    except CborError:
        return
    assert types_of(decode(data)) == types_of(value)
