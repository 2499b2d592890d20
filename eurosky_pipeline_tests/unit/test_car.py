"""CAR files: a stream of checked blocks, and an error with its place for anything else."""

import hashlib
import io

import pytest

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import MAX_BLOCK_BYTES, MAX_HEADER_BYTES, Block, CarError, CarReader
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_RAW, Cid, cid_of
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
    assert [(block.cid, block.data) for block in reader] == blocks


def test_a_block_says_where_its_data_stands():
    data = make_repo_car(make_posts(5))
    for block in read(data):
        assert data[block.offset : block.offset + len(block.data)] == block.data
        assert data[block.offset - CID_BYTES : block.offset] == block.cid


def test_blocks_come_one_by_one_before_the_rest_is_looked_at():
    blocks = iter(CarReader(io.BytesIO(make_car(ROOT, BLOCKS)[:-1])))
    assert next(blocks).data == ROOT_DATA
    with pytest.raises(CarError):
        next(blocks)


def test_no_read_is_larger_than_the_block_it_is_for():
    large = make_block({"text": "x" * 50_000})
    stream = WatchedStream(make_car(ROOT, [*BLOCKS, large] * 3))
    assert len(list(CarReader(stream))) == 9
    assert stream.largest_read == CID_BYTES + len(large[1])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param({"roots": [ROOT], "version": 2}, "version 1", id="version 2"),
        pytest.param({"roots": [ROOT], "version": True}, "version 1", id="version true"),
        pytest.param({"roots": [ROOT], "version": "1"}, "version 1", id="version as text"),
        pytest.param({"roots": [ROOT]}, "fields", id="no version"),
        pytest.param({"version": 1}, "fields", id="no roots"),
        pytest.param({"roots": [ROOT], "version": 1, "x": 1}, "fields", id="a field too many"),
        pytest.param([ROOT], "fields", id="a list"),
        pytest.param({"roots": [], "version": 1}, "no root", id="empty roots"),
        pytest.param({"roots": None, "version": 1}, "no root", id="roots null"),
        pytest.param({"roots": [bytes(ROOT)], "version": 1}, "no root", id="a root that is bytes"),
        pytest.param({"roots": [ROOT, None], "version": 1}, "no root", id="a root that is null"),
        pytest.param(b"\xff", "DAG-CBOR", id="not CBOR"),
        pytest.param(b"\xb9\x00\x02", "DAG-CBOR", id="cut CBOR"),
        pytest.param(dag_cbor.encode({"roots": [ROOT], "version": 1}) + b"\0", "canonical", id="trailing byte"),
    ],
)
def test_a_header_that_is_not_one_of_version_1_is_refused(header, message):
    with pytest.raises(CarError, match=message) as caught:
        read(with_header(header, section(ROOT, ROOT_DATA)))
    assert caught.value.offset == 0


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
    assert stream.largest_read < 200


def test_a_block_of_the_greatest_length_is_read():
    block = (cid_of(b"x" * MAX_BLOCK_BYTES, CODEC_RAW), b"x" * MAX_BLOCK_BYTES)
    assert read(make_car(ROOT, [block]))[0].data == block[1]


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
    assert caught.value.code == "car"


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
            assert [Cid(block.cid) for block in read(data[:length])] == [cid for cid, _ in repo.blocks[: ends[length]]]
            continue
        with pytest.raises(IntegrityError) as caught:
            read(data[:length])
        assert caught.value.offset is not None
        assert caught.value.offset <= length
