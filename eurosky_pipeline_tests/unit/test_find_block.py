"""A block found by its CID among bytes that nobody has cut into blocks, wherever it stands, and nothing else for it."""

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline.convert import find_block as module
from eurosky_pipeline.convert.find_block import find_block

DATA = b"what is looked for"
CID = cid_of(DATA)
PIECE_BYTES = module._PIECE_BYTES


def framed(data: bytes, cid: bytes = CID) -> bytes:
    """A block as it stands in a CAR."""
    return encode_varint(len(cid) + len(data)) + cid + data


def found_in(file: bytes, start: int = 0) -> tuple[int, bytes] | None:
    return find_block(lambda offset, length: file[offset : offset + length], CID, start, len(file))


@pytest.mark.parametrize("data", [DATA, DATA * 10, DATA * 2000], ids=["one byte", "two bytes", "three bytes"])
def test_lengths_of_every_width_are_read(data):
    file = b"before" + framed(data, cid_of(data)) + b"behind"
    found = find_block(lambda offset, length: file[offset : offset + length], cid_of(data), 0, len(file))
    assert found == (file.index(data), data)


@pytest.mark.parametrize("before", [*range(PIECE_BYTES - 60, PIECE_BYTES + 4), 2 * PIECE_BYTES - 1])
def test_it_may_stand_across_the_pieces_that_are_read(before):
    file = bytes(before) + framed(DATA) + bytes(100)
    assert found_in(file) == (before + 37, DATA)


def test_at_the_very_end_and_right_behind_the_start():
    assert found_in(bytes(9) + framed(DATA), start=9) == (9 + 37, DATA)
    assert found_in(framed(DATA)) == (37, DATA)


def test_the_cid_alone_is_no_block():
    link, other = b"\xd8\x2a\x58\x25\x00" + CID, framed(DATA[:-1])
    for file in (
        b"",
        CID,
        link,
        b"\x00" + CID + DATA,
        framed(b"other bytes"),
        other,
        framed(DATA)[:-1],
        b"\x80" * 9 + CID,
    ):
        assert found_in(file) is None, file
    file = link + framed(b"other bytes") + other + framed(DATA) + framed(DATA)
    assert found_in(file) == (file.index(DATA, file.index(framed(DATA))), DATA)
