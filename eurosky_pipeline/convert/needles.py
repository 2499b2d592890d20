"""Where certain bytes occur in a stream, found in the pieces that pass by."""

from __future__ import annotations

from collections.abc import Iterator

from eurosky_pipeline.atproto.varint import Readable


def occurrences(stream: Readable, needle: bytes, *, piece_bytes: int) -> Iterator[int]:
    """The offset of each, from where the stream stands, rising."""
    data, offset = b"", 0
    while piece := stream.read(piece_bytes):
        data += piece
        found = data.find(needle)
        while found >= 0:
            yield offset + found
            found = data.find(needle, found + 1)
        # what the end of the piece cuts in two is whole in the next
        kept = data[max(0, len(data) - len(needle) + 1) :]
        data, offset = kept, offset + len(data) - len(kept)
