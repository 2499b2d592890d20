"""Varints: the shortest form and nothing else, and never a quiet end of the stream."""

import io

import pytest

from eurosky_pipeline.atproto.varint import VarintError, encode_varint, read_varint
from eurosky_pipeline.errors import IntegrityError

KNOWN = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16383, "ff7f"),
    (16384, "808001"),
    (2**63 - 1, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("number", "encoded"), KNOWN)
def test_known_numbers_are_written_and_read(number, encoded):
    assert encode_varint(number).hex() == encoded
    assert read_varint(io.BytesIO(bytes.fromhex(encoded))) == (number, len(encoded) // 2)


@pytest.mark.parametrize("number", [-1, 2**63, 2**64])
def test_a_number_that_does_not_fit_is_not_written(number):
    with pytest.raises(ValueError, match=str(number)):
        encode_varint(number)


def test_the_end_of_the_stream_is_none():
    assert read_varint(io.BytesIO(b"")) is None


@pytest.mark.parametrize("cut", ["80", "ff", "ffff", "ffffffffffffffff"])
def test_a_cut_varint_is_an_error_not_the_end_of_the_stream(cut):
    with pytest.raises(VarintError, match="ends inside"):
        read_varint(io.BytesIO(bytes.fromhex(cut)))


@pytest.mark.parametrize("padded", ["8000", "ff00", "808000", "818000", "ffffffffffffffff00"])
def test_a_varint_with_padding_is_refused(padded):
    with pytest.raises(VarintError, match="shortest"):
        read_varint(io.BytesIO(bytes.fromhex(padded)))


@pytest.mark.parametrize("long", ["80" * 9, "ff" * 9 + "01", "80" * 9 + "01", "ff" * 1000])
def test_a_varint_longer_than_nine_bytes_is_refused_after_nine(long):
    stream = io.BytesIO(bytes.fromhex(long))
    with pytest.raises(VarintError, match="longer than 9"):
        read_varint(stream)
    assert stream.tell() == 9


def test_reading_takes_no_byte_too_many():
    stream = io.BytesIO(bytes.fromhex("ac02") + b"rest")
    assert read_varint(stream) == (300, 2)
    assert stream.read() == b"rest"


@pytest.mark.parametrize("bad", ["80", "8000", "80" * 9])
def test_an_error_says_where_the_varint_began(bad):
    with pytest.raises(VarintError) as caught:
        read_varint(io.BytesIO(bytes.fromhex(bad)), offset=1234)
    assert caught.value.offset == 1234
    assert "at byte 1234" in str(caught.value)
    assert isinstance(caught.value, IntegrityError)
    assert caught.value.code == "varint"
