"""CAR files: a stream of checked blocks, and an error with its place for anything else."""

import hashlib
import io

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES, MAX_HEADER_BYTES, Block, BlockHashError, CarError, CarReader
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_DAG_CBOR, CODEC_RAW, cid_of
from eurosky_pipeline.atproto.varint import VarintError, encode_varint
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline_tests.builders import make_block, make_car, make_posts, make_repo, make_repo_car

ROOT, ROOT_DATA = make_block({"root": True})
OTHER, OTHER_DATA = make_block({"other": 1})
BLOCKS = [(ROOT, ROOT_DATA), (OTHER, OTHER_DATA)]


class WatchedStream(io.BytesIO):
    """Remembers the largest read that was asked for."""

    largest_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.largest_read = max(self.largest_read, len(self.getvalue()) if size is None or size < 0 else size)
        return super().read(size)


def read(data: bytes) -> list[Block]:
    return list(CarReader(io.BytesIO(data)))


def with_header(header: object, blocks: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else dag_cbor.encode(header)
    return encode_varint(len(encoded)) + encoded + blocks


def section(cid: bytes, data: bytes) -> bytes:
    return encode_varint(len(cid) + len(data)) + cid + data


def test_what_is_written_is_read_in_its_order():
    blocks = [*BLOCKS, BLOCKS[0], (cid_of(b"raw", CODEC_RAW), b"raw"), (cid_of(b"", CODEC_RAW), b"")]
    reader = CarReader(io.BytesIO(make_car(ROOT, blocks)))
    assert reader.roots == (ROOT,)
    assert [(cid, data) for cid, data, _ in reader] == blocks


def test_a_block_says_where_its_data_stands():
    data = make_repo_car(make_posts(5))
    for cid, block, offset in read(data):
        assert data[offset : offset + len(block)] == block
        assert data[offset - CID_BYTES : offset] == cid


def test_blocks_come_one_by_one_before_the_rest_is_looked_at():
    blocks = iter(CarReader(io.BytesIO(make_car(ROOT, BLOCKS)[:-1])))
    assert next(blocks)[1] == ROOT_DATA
    with pytest.raises(CarError):
        next(blocks)


def test_a_read_is_as_large_as_the_block_that_needs_it_and_no_larger():
    large = make_block({"text": "x" * 3_000_000})
    stream = WatchedStream(make_car(ROOT, [*BLOCKS, large] * 3))
    assert len(list(CarReader(stream))) == 9
    assert 100_000 < stream.largest_read <= CID_BYTES + len(large[1])


class DribblingStream(io.BytesIO):
    """Gives less than it is asked for, as a socket or a pipe does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 else min(7, size))


def test_a_stream_that_gives_less_than_it_is_asked_for_has_not_ended():
    data = make_repo_car(make_posts(20))
    assert list(CarReader(DribblingStream(data))) == read(data)


@pytest.mark.parametrize("size", [91, 92, 93, 16_346, 16_347, 16_348, 65_536, 3_000_000])
def test_a_length_of_any_width_is_read(size):
    """Around 128 and 16,384 bytes with the CID, where the length takes one byte more."""
    blocks = [*BLOCKS, (cid_of(b"x" * size, CODEC_RAW), b"x" * size), *BLOCKS]
    assert [(cid, data) for cid, data, _ in read(make_car(ROOT, blocks))] == blocks


def test_reading_can_go_on_behind_a_block_that_does_not_hash_to_its_cid():
    reader = CarReader(io.BytesIO(make_car(ROOT, [BLOCKS[0], (OTHER, b"something else"), *BLOCKS])))
    with pytest.raises(BlockHashError):
        list(reader)
    assert [cid for cid, _, _ in reader] == [ROOT, OTHER]


def test_an_iteration_that_was_left_is_gone_on_with_where_it_stood():
    reader = CarReader(io.BytesIO(make_car(ROOT, [*BLOCKS, *BLOCKS])))
    first = next(iter(reader))
    offsets = [offset for _, _, offset in [first, *reader]]
    assert offsets == [offset for _, _, offset in read(make_car(ROOT, [*BLOCKS, *BLOCKS]))]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param({"roots": [ROOT], "version": 2}, "version 1", id="version 2"),
        pytest.param({"roots": [ROOT], "version": True}, "version 1", id="version true"),
        pytest.param({"roots": [ROOT], "version": "1"}, "version 1", id="version as text"),
        pytest.param({"roots": [ROOT]}, "fields", id="no version"),
        pytest.param({"version": 1}, "fields", id="no roots"),
        pytest.param({"roots": [ROOT], "version": 1, "x": 1}, "fields", id="a field too many"),
        pytest.param([ROOT], "no header", id="a list"),
        pytest.param({"roots": [], "version": 1}, "no root", id="empty roots"),
        pytest.param({"roots": None, "version": 1}, "no root", id="roots null"),
        pytest.param({"roots": [bytes(ROOT)], "version": 1}, "no root", id="a root that is bytes"),
        pytest.param({"roots": [ROOT, None], "version": 1}, "no root", id="a root that is null"),
        pytest.param(b"\xff", "no header", id="not CBOR"),
        pytest.param(b"\xb9\x00\x02", "DAG-CBOR", id="cut CBOR"),
        pytest.param(dag_cbor.encode({"roots": [ROOT], "version": 1}) + b"\0", "canonical", id="trailing byte"),
    ],
)
def test_a_header_that_is_not_one_of_version_1_is_refused(header, message):
    with pytest.raises(CarError, match=message) as caught:
        read(with_header(header, section(ROOT, ROOT_DATA)))
    assert caught.value.offset == 0


@pytest.mark.parametrize("text", [b"<html><body>No</body></html>", b'{"error":"RepoNotFound"}', b"\x1f\x8b\x08gz"])
def test_what_a_server_sends_instead_of_a_car_is_told_from_one_that_was_cut(text):
    with pytest.raises(CarError, match="this is no CAR file"):
        read(text)


def test_an_empty_file_is_no_car():
    with pytest.raises(CarError, match="empty"):
        read(b"")


@pytest.mark.parametrize("length", [0, MAX_HEADER_BYTES + 1, 2**40, 2**63 - 1])
def test_a_header_of_an_absurd_length_is_refused_unread(length):
    stream = WatchedStream(encode_varint(length) + b"x" * 100)
    with pytest.raises(CarError, match="header claims"):
        CarReader(stream)
    assert stream.largest_read == 1


@pytest.mark.parametrize("length", [0, 1, CID_BYTES - 1, MAX_BLOCK_BYTES + CID_BYTES + 1, 2**31, 2**63 - 1])
def test_a_block_of_an_absurd_length_is_refused_unread(length):
    whole = make_car(ROOT, BLOCKS)
    stream = WatchedStream(whole + encode_varint(length) + b"x" * 100)
    with pytest.raises(CarError, match="block claims") as caught:
        list(CarReader(stream))
    assert caught.value.offset == len(whole + encode_varint(length))
    assert stream.largest_read < 100_000


def test_a_block_shorter_than_its_own_cid_is_refused_although_the_bytes_behind_it_make_one_up():
    empty = cid_of(b"", CODEC_DAG_CBOR)
    for length in (0, 5, CID_BYTES - 1):
        with pytest.raises(CarError, match="block claims"):
            read(make_car(ROOT, BLOCKS) + encode_varint(length) + empty + section(*BLOCKS[0]))


def test_a_block_of_the_greatest_length_is_read():
    block = (cid_of(b"x" * MAX_BLOCK_BYTES, CODEC_RAW), b"x" * MAX_BLOCK_BYTES)
    assert read(make_car(ROOT, [block]))[0][1] == block[1]


@pytest.mark.parametrize(
    "cid",
    [
        pytest.param(bytes([1, 0x70, 0x12, 0x20]), id="codec dag-pb"),
        pytest.param(bytes([1, 0x71, 0x1E, 0x20]), id="hash blake3"),
        pytest.param(bytes([0, 0x71, 0x12, 0x20]), id="version 0"),
        pytest.param(bytes([1, 0x71, 0x12, 0x14]), id="a shorter digest"),
    ],
)
def test_a_block_with_another_kind_of_cid_is_refused(cid):
    start = make_car(ROOT, BLOCKS)
    with pytest.raises(CarError, match="not of the kind") as caught:
        read(start + section(cid + hashlib.sha256(b"data").digest(), b"data"))
    assert caught.value.offset == len(start) + 1


def test_a_block_that_does_not_hash_to_its_cid_is_refused_by_name_and_place():
    start = make_car(ROOT, BLOCKS)
    with pytest.raises(CarError, match=str(OTHER)) as caught:
        read(start + section(OTHER, b"something else"))
    assert caught.value.offset == len(start) + 1
    assert caught.value.code == "block_hash"


def test_what_follows_the_last_block_must_be_a_block():
    with pytest.raises(IntegrityError):
        read(make_car(ROOT, BLOCKS) + b"\r\n")


def test_a_cut_varint_after_a_block_is_an_error_with_its_place():
    whole = make_car(ROOT, BLOCKS)
    with pytest.raises(VarintError) as caught:
        read(whole + b"\x80")
    assert caught.value.offset == len(whole)


def test_every_truncation_is_an_error_unless_it_leaves_whole_blocks():
    """Between two blocks a cut leaves a shorter CAR that is itself whole: only a repository can tell what it lacks."""
    repo = make_repo(make_posts(4))
    data = make_car(repo.root, repo.blocks)
    ends = {len(make_car(repo.root, repo.blocks[:count])): count for count in range(len(repo.blocks) + 1)}
    for length in range(len(data) + 1):
        if length in ends:
            assert [cid for cid, _, _ in read(data[:length])] == [cid for cid, _ in repo.blocks[: ends[length]]]
            continue
        with pytest.raises(IntegrityError) as caught:
            read(data[:length])
        assert caught.value.offset is not None
        assert caught.value.offset <= length
