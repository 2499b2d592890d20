"""A block looked for by its CID in a stretch of a CAR that nobody has cut into blocks yet: by its bytes alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES
from eurosky_pipeline.atproto.cid import CID_BYTES, Cid, cid_of
from eurosky_pipeline.atproto.varint import read_varint
from eurosky_pipeline.errors import IntegrityError

Read = Callable[[int, int], bytes]
"""Bytes of a file, by offset and length."""

_PIECE_BYTES: Final = 64 * 1024
_MAX_LENGTH_WIDTH: Final = 4  # bytes of a varint, for a block of the largest size


def find_block(read: Read, cid: Cid, start: int, end: int) -> tuple[int, bytes] | None:
    """The first block of DAG-CBOR with this CID whose length stands in the stretch, or before it.

    Args:
        start, end: of the stretch, in bytes.

    Returns: where its data begin, and the data, which hash to the CID; None if there is none.
    Raises: as `read`.
    """
    for offset in _occurrences(read, cid, start, end):
        data = _data_after(read, cid, offset)
        if data is not None:
            return offset + CID_BYTES, data
    return None


def _occurrences(read: Read, needle: bytes, start: int, end: int) -> Iterator[int]:
    """The offset of each, rising."""
    overlap = len(needle) - 1  # what the end of a piece cuts in two is whole in the next
    for offset in range(start, end, _PIECE_BYTES):
        piece = read(offset, min(_PIECE_BYTES + overlap, end - offset))
        found = piece.find(needle)
        while found >= 0:
            yield offset + found
            found = piece.find(needle, found + 1)


def _data_after(read: Read, cid: Cid, offset: int) -> bytes | None:
    """The data of the block whose CID stands at this offset, if it is one: then its length stands before it."""
    for width in range(1, min(offset, _MAX_LENGTH_WIDTH) + 1):
        with suppress(IntegrityError):
            found = read_varint(io.BytesIO(read(offset - width, width)))
            if found is None or found[1] != width or not CID_BYTES < found[0] <= CID_BYTES + MAX_BLOCK_BYTES:
                continue
            data = read(offset + CID_BYTES, found[0] - CID_BYTES)
            if cid_of(data) == cid:
                return data
    return None
