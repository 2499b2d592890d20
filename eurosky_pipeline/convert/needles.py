"""Where certain bytes occur in a stream, found in the pieces that pass by: ten times as fast as block by block."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from eurosky_pipeline.atproto.indexed_car import OnRead
from eurosky_pipeline.atproto.varint import Readable


class Needles:
    """A stream that is looked through as it is read.

    Attributes:
        hits: the offset of each occurrence that has passed by and that nobody has taken, rising.
        looked_from: the offset from which on the stream is looked through; None before `start`.
    """

    def __init__(self, stream: Readable, needles: Sequence[bytes], on_read: OnRead | None = None) -> None:
        self._stream = stream
        self._needles = needles
        self._on_read = on_read
        self._overlap = max(map(len, needles), default=1) - 1
        self._tail = b""
        self._offset = 0
        self.hits: deque[int] = deque()
        self.looked_from: int | None = None

    def start(self) -> None:
        """Look through what is read from now on."""
        if self.looked_from is None:
            self.looked_from = self._offset

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(size)
        if self._on_read is not None:
            self._on_read(len(piece))
        if self.looked_from is not None:
            self._look_through(self._tail + piece, self._offset - len(self._tail))
        self._offset += len(piece)
        return piece

    def take(self, end: int) -> None:
        """Take all hits before this offset."""
        while self.hits and self.hits[0] < end:
            self.hits.popleft()

    def _look_through(self, data: bytes, offset: int) -> None:
        found: list[int] = []
        for needle in self._needles:
            position = data.find(needle)
            while position >= 0:
                found.append(offset + position)
                position = data.find(needle, position + 1)
        # what the end of the piece cuts in two is whole in the next; to find one twice does no harm
        self._tail = data[len(data) - self._overlap :] if self._overlap else b""
        self.hits.extend(sorted(found) if len(self._needles) > 1 else found)
