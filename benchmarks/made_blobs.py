"""Blobs that are made up as they are asked for: no disk, no memory, and yet each with a CID of its own.

A blob is one pattern over and over, and its number at the end: so the hashes of all share their work, and whether the
right bytes arrived is found out by comparing them, which takes a tenth of the time of hashing them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from eurosky_pipeline.atproto.cid import RAW_PREFIX, Cid

PIECE_BYTES = 256 * 1024
NUMBER_BYTES = 8
MIME_TYPE = "image/jpeg"
_PATTERN = hashlib.shake_256(b"blobs").digest(1021) * 1024  # of a length that no buffer has
_PATTERN_VIEW = memoryview(_PATTERN)


@dataclass(frozen=True, slots=True)
class MadeBlobs:
    """So many blobs of one size, numbered from 0; `size_bytes` is at least `NUMBER_BYTES`."""

    count: int
    size_bytes: int

    def cids(self) -> list[Cid]:
        """The blobs' CIDs, by number."""
        common = hashlib.sha256()
        for piece in self._common():
            common.update(piece)
        found: list[Cid] = []
        for number in range(self.count):
            digest = common.copy()
            digest.update(_tail(number))
            found.append(Cid(RAW_PREFIX + digest.digest()))
        return found

    def pieces(self, number: int) -> Iterator[memoryview | bytes]:
        """The bytes of one blob, in pieces of at most `PIECE_BYTES`."""
        yield from self._common()
        yield _tail(number)

    def _common(self) -> Iterator[memoryview]:
        left, start = self.size_bytes - NUMBER_BYTES, 0
        while left:
            piece = _PATTERN_VIEW[start : start + min(left, PIECE_BYTES)]
            yield piece
            left -= len(piece)
            start = (start + len(piece)) % 1021


class Arrival:
    """Compares what arrives with what the blobs are."""

    def __init__(self, blobs: MadeBlobs) -> None:
        self._blobs = blobs
        self._received_bytes = 0
        self._tail = b""
        self._is_right = True

    def take(self, piece: memoryview) -> None:
        """The next bytes, at most `PIECE_BYTES`."""
        start, end = self._received_bytes, self._blobs.size_bytes - NUMBER_BYTES
        common = piece[: max(0, end - start)]
        self._is_right &= not common or _PATTERN.startswith(common, start % 1021)
        self._tail += piece[len(common) :]
        self._is_right &= len(self._tail) <= NUMBER_BYTES
        self._received_bytes += len(piece)

    def number(self) -> int | None:
        """Which blob it was; None if it was none, or not all of it."""
        number = int.from_bytes(self._tail, "big")
        is_whole = self._is_right and len(self._tail) == NUMBER_BYTES and number < self._blobs.count
        return number if is_whole else None


def _tail(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")
