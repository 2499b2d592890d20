"""Base58: one spelling for each byte string, and a bound on how long it may be."""

import pytest

from eurosky_pipeline.atproto import base58


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"\0\0\x39", "11z"),
        (b"\x3a", "21"),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    ],
)
def test_bytes_and_their_spelling_belong_together(data, text):
    assert base58.encode(data) == text
    assert base58.decode(text) == data


@pytest.mark.parametrize("character", ["0", "O", "I", "l", " ", "\n", "-", "é", "１"])
def test_a_character_that_is_not_one_of_base58_is_refused_by_its_place_only(character):
    with pytest.raises(ValueError, match=r"^character 4 is not one of base58$"):
        base58.decode("abc" + character + "abc")


def test_what_is_longer_than_any_key_is_not_even_begun():
    assert len(base58.decode("1" * base58.MAX_TEXT_LENGTH)) == base58.MAX_TEXT_LENGTH
    with pytest.raises(ValueError, match="longer than 128"):
        base58.decode("z" * 200_000)


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\0" * 129, b"\xff" * 200_000])
def test_nothing_is_written_that_could_not_be_read(data):
    with pytest.raises(ValueError, match="too long"):
        base58.encode(data)
