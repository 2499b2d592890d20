"""Blobs to seed an account with: small but valid files of real formats, of exactly the size that was asked for.

Each picture is one pixel or a few; the rest of its bytes is noise in a place where the format allows what nobody
reads: private chunks (PNG, WebP), comments (JPEG, GIF), free space (MP4). Noise makes them distinct, and keeps a
compressing transport honest. Made as a stream: memory does not follow the size.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

MIN_BLOB_BYTES = 512
_PIECE_BYTES = 64_000

# 1 x 1 pixel each, as their encoders made them
_JPEG_BODY = bytes.fromhex(
    "ffe000104a46494600010101004800480000"
    "ffdb004300" + "01" * 64 + "ffc0000b080001000101011100"
    "ffc40014000100000000000000000000000000000003"
    "ffc40014100100000000000000000000000000000000"
    "ffda0008010100003f0037ffd9"
)
_GIF_HEAD = b"GIF89a" + bytes.fromhex("01000100800000 000000 ffffff")
_GIF_TAIL = bytes.fromhex("2c00000000010001000002 02 4c01 00 3b")
_WEBP_IMAGE = bytes.fromhex("2f0000001007101111 8888fe0700")


def blob_pieces(mime_type: str, size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    """A file of `mime_type` that is `size_bytes` long, piece by piece; the same `noise` gives the same bytes.

    Args:
        mime_type: one of `MIME_TYPES`.
        size_bytes: at least `MIN_BLOB_BYTES`, and even (a WebP file cannot be otherwise).

    Raises:
        ValueError: a size that cannot be made.
    """
    if size_bytes < MIN_BLOB_BYTES or size_bytes % 2:
        raise ValueError(f"a blob must have an even number of bytes, at least {MIN_BLOB_BYTES}, not {size_bytes}")
    return _WRITERS[mime_type](size_bytes, noise)


def _png(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    head = b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    tail = _png_chunk(b"IDAT", zlib.compress(b"\0" + noise.randbytes(3))) + _png_chunk(b"IEND", b"")
    yield head
    for length in _split(size_bytes - len(head) - len(tail), overhead=12, longest=_PIECE_BYTES):
        yield _png_chunk(b"noIs", noise.randbytes(length))  # case says: may be ignored, private, safe to copy
    yield tail


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    yield b"\xff\xd8" + _JPEG_BODY[:18]
    for length in _split(size_bytes - 2 - len(_JPEG_BODY), overhead=4, longest=_PIECE_BYTES):
        yield b"\xff\xfe" + struct.pack(">H", length + 2) + noise.randbytes(length)
    yield _JPEG_BODY[18:]


def _gif(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    head, tail = _GIF_HEAD + b"\x21\xfe", b"\x00" + _GIF_TAIL
    yield head
    for length in _split(size_bytes - len(head) - len(tail), overhead=1, longest=255):
        yield bytes([length]) + noise.randbytes(length)
    yield tail


def _webp(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    image = _riff_chunk(b"VP8X", bytes(10)) + _riff_chunk(b"VP8L", _WEBP_IMAGE)
    rest = size_bytes - 12 - len(image) - 8
    yield b"RIFF" + struct.pack("<I", size_bytes - 8) + b"WEBP" + image + b"nois" + struct.pack("<I", rest)
    yield from _noise(rest, noise)


def _riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _mp4(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    head = _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isomiso2mp41")
    movie = _box(b"moov", _box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 0) + bytes(80)))
    rest = size_bytes - len(head) - len(movie) - 8
    yield head + movie + struct.pack(">I", rest + 8) + b"free"
    yield from _noise(rest, noise)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def _plain(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    yield bytes(4)  # the signature of no format, so that a server has nothing to guess from
    yield from _noise(size_bytes - 4, noise)


def _noise(size_bytes: int, noise: random.Random) -> Iterator[bytes]:
    while size_bytes > 0:
        piece = noise.randbytes(min(size_bytes, _PIECE_BYTES))
        size_bytes -= len(piece)
        yield piece


def _split(total: int, *, overhead: int, longest: int) -> Iterator[int]:
    """Payload lengths of the fewest equal pieces that take exactly `total` bytes with `overhead` bytes for each."""
    count = -(-total // (longest + overhead))
    for index in range(count):
        yield total * (index + 1) // count - total * index // count - overhead


_WRITERS: dict[str, Callable[[int, random.Random], Iterator[bytes]]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/webp": _webp,
    "image/gif": _gif,
    "video/mp4": _mp4,
    "application/octet-stream": _plain,
}
MIME_TYPES = tuple(_WRITERS)
