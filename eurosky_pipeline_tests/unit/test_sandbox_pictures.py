"""Seeded blobs are what they say: read here by the rules of their formats, not by the code that made them."""

import random
import struct
import zlib

import pytest

from eurosky_pipeline.sandbox.pictures import MIME_TYPES, MIN_BLOB_BYTES, blob_pieces

SIZES = [MIN_BLOB_BYTES, 514, 1_000, 64_000, 64_512, 65_600, 131_072, 999_998]


def make(mime_type: str, size_bytes: int, seed: int = 1) -> bytes:
    return b"".join(blob_pieces(mime_type, size_bytes, random.Random(seed)))


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@pytest.mark.parametrize("size_bytes", SIZES)
def test_sizes_are_exact_and_content_is_the_seeds(mime_type: str, size_bytes: int) -> None:
    blob = make(mime_type, size_bytes)
    assert len(blob) == size_bytes
    assert blob == make(mime_type, size_bytes)
    assert blob != make(mime_type, size_bytes, seed=2)


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@pytest.mark.parametrize("size_bytes", [0, MIN_BLOB_BYTES - 2, MIN_BLOB_BYTES + 1])
def test_sizes_that_cannot_be_made_are_refused(mime_type: str, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="even number of bytes"):
        make(mime_type, size_bytes)


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_memory_does_not_follow_the_size(mime_type: str) -> None:
    assert max(map(len, blob_pieces(mime_type, 1_000_000, random.Random(1)))) < 70_000


@pytest.mark.parametrize("size_bytes", SIZES)
def test_png_chunks_are_whole_and_their_checksums_right(size_bytes: int) -> None:
    blob = make("image/png", size_bytes)
    assert blob.startswith(b"\x89PNG\r\n\x1a\n")
    kinds, offset = [], 8
    while offset < len(blob):
        (length,) = struct.unpack_from(">I", blob, offset)
        chunk = blob[offset + 4 : offset + 8 + length]
        assert zlib.crc32(chunk) == struct.unpack_from(">I", blob, offset + 8 + length)[0]
        kinds.append(chunk[:4])
        if chunk[:4] == b"IDAT":
            assert len(zlib.decompress(chunk[4:])) == 4  # a filter byte, and one pixel
        offset += 12 + length
    assert offset == len(blob)
    assert [kinds[0], kinds[-2], kinds[-1]] == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_jpeg_segments_lead_to_the_scan(size_bytes: int) -> None:
    blob = make("image/jpeg", size_bytes)
    assert blob.startswith(b"\xff\xd8\xff\xe0")
    markers, offset = [], 2
    while blob[offset + 1] != 0xDA:  # start of scan
        assert blob[offset] == 0xFF
        markers.append(blob[offset + 1])
        offset += 2 + struct.unpack_from(">H", blob, offset + 2)[0]
    assert set(markers) == {0xE0, 0xFE, 0xDB, 0xC0, 0xC4}
    assert blob.endswith(b"\xff\xd9")


@pytest.mark.parametrize("size_bytes", SIZES)
def test_gif_blocks_lead_to_the_trailer(size_bytes: int) -> None:
    blob = make("image/gif", size_bytes)
    assert blob.startswith(b"GIF89a")
    offset = 13 + 6  # header, then a palette of two colours
    assert blob[offset : offset + 2] == b"\x21\xfe"
    offset += 2
    while blob[offset]:
        offset += 1 + blob[offset]
    assert blob[offset + 1] == 0x2C
    assert len(blob) - offset < 25
    assert blob.endswith(b"\x3b")


@pytest.mark.parametrize("size_bytes", SIZES)
def test_webp_chunks_fill_the_file(size_bytes: int) -> None:
    blob = make("image/webp", size_bytes)
    assert (blob[:4], blob[8:12]) == (b"RIFF", b"WEBP")
    assert struct.unpack_from("<I", blob, 4)[0] == len(blob) - 8
    kinds, offset = [], 12
    while offset < len(blob):
        kinds.append(blob[offset : offset + 4])
        (length,) = struct.unpack_from("<I", blob, offset + 4)
        offset += 8 + length + length % 2
    assert (kinds, offset) == ([b"VP8X", b"VP8L", b"nois"], len(blob))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_mp4_boxes_fill_the_file(size_bytes: int) -> None:
    blob = make("video/mp4", size_bytes)
    kinds, offset = [], 0
    while offset < len(blob):
        (length,) = struct.unpack_from(">I", blob, offset)
        kinds.append(blob[offset + 4 : offset + 8])
        offset += length
    assert (kinds, offset) == ([b"ftyp", b"moov", b"free"], len(blob))
