"""Blocks a piece at a time: the same ones, what comes before a fault of the file first; and what a piece holds."""

import io
from collections.abc import Iterator

import pytest

from eurosky_pipeline.atproto import car
from eurosky_pipeline.atproto.car import BlockHashError, CarError, CarReader, Piece
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_DAG_CBOR, CODEC_RAW, cid_of
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline_tests.builders import make_block, make_car

ROOT, _ = make_block({"root": True})
NEEDLE = b"needle"


class Dribble(io.BytesIO):
    """Gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most if size is None else min(size, self._most))


def blocks_of(*datas: bytes, codec: int = CODEC_DAG_CBOR) -> list[tuple[bytes, bytes]]:
    return [(cid_of(data, codec), data) for data in datas]


def numbered(count: int, size: int = 100) -> list[tuple[bytes, bytes]]:
    return blocks_of(*(number.to_bytes(4, "big") * (size // 4) for number in range(count)))


def pieces_of(blocks: list[tuple[bytes, bytes]]) -> Iterator[Piece]:
    return CarReader(io.BytesIO(make_car(ROOT, blocks))).pieces()


def flat(pieces: list[Piece]) -> list[tuple[bytes, bytes]]:
    return [block for piece in pieces for block in zip(piece.cids, piece.datas, strict=True)]


def bad(blocks: list[tuple[bytes, bytes]], *numbers: int) -> list[tuple[bytes, bytes]]:
    return [(cid, b"bad" if number in numbers else data) for number, (cid, data) in enumerate(blocks)]


def holding(*datas: bytes, needle: bytes = NEEDLE) -> list[int]:
    (piece,) = pieces_of(blocks_of(*datas))
    return list(piece.holding(needle))


@pytest.mark.parametrize("most", [1, 7, 100, 1 << 20])
def test_pieces_hold_every_block_once_and_in_order_however_they_are_read(most):
    blocks = numbered(40) + blocks_of(b"", b"x" * 300) + numbered(3, 70_000)
    file = make_car(ROOT, blocks)
    pieces = list(CarReader(Dribble(file, most)).pieces())
    assert flat(pieces) == blocks
    assert len(pieces) > 1
    for piece in pieces:
        for cid, data, position in zip(piece.cids, piece.datas, piece.positions, strict=True):
            assert piece.buffer[position : position + len(data)] == data
            start = piece.offset + position
            assert file[start - CID_BYTES : start + len(data)] == cid + data


def test_a_second_reading_cuts_the_same_pieces_and_does_not_hash_again():
    blocks = [*numbered(400), *blocks_of(b"raw", codec=CODEC_RAW), *numbered(3, 70_000)]
    file = make_car(ROOT, blocks)
    assert list(CarReader(io.BytesIO(file)).pieces(are_known=True)) == list(CarReader(io.BytesIO(file)).pieces())
    spoilt = make_car(ROOT, bad(blocks, 5))
    assert flat(list(CarReader(io.BytesIO(spoilt)).pieces(are_known=True))) == bad(blocks, 5)
    with pytest.raises(BlockHashError):
        list(CarReader(io.BytesIO(spoilt)).pieces())


def test_many_small_blocks_are_one_piece():
    assert [len(piece.cids) for piece in pieces_of(numbered(200))] == [200]


def test_raw_blocks_stand_among_the_others():
    blocks = [*numbered(3), *blocks_of(b"raw", b"", codec=CODEC_RAW), *numbered(3, 60)]
    assert flat(list(pieces_of(blocks))) == blocks


def test_an_iteration_that_was_left_in_the_middle_of_a_piece_is_gone_on_with():
    blocks = numbered(10)
    reader = CarReader(io.BytesIO(make_car(ROOT, blocks)))
    first = []
    for cid, data, _ in reader:
        first.append((cid, data))
        if len(first) == 4:
            break
    assert first + [(cid, data) for cid, data, _ in reader] == blocks


@pytest.mark.parametrize("codec", [CODEC_DAG_CBOR, CODEC_RAW])
def test_what_stands_before_a_bad_block_comes_first_and_what_stands_behind_it_can_still_be_read(codec):
    good = numbered(9)
    damaged = bad([*good[:4], (cid_of(b"other", codec), b""), *good[4:]], 4)
    file = make_car(ROOT, damaged)
    reader = CarReader(io.BytesIO(file))
    pieces = reader.pieces()
    assert flat([next(pieces)]) == good[:4]
    with pytest.raises(BlockHashError) as caught:
        next(pieces)
    assert caught.value.offset == file.index(damaged[4][0])
    assert flat(list(reader.pieces())) == good[4:]


@pytest.mark.parametrize("numbers", [(0,), (0, 1), (8,), (0, 3, 4, 8)])
def test_every_bad_block_is_an_error_of_its_own(numbers):
    good = numbered(9)
    reader = CarReader(io.BytesIO(make_car(ROOT, bad(good, *numbers))))
    found: list[tuple[bytes, bytes]] = []
    errors = 0
    while True:
        try:
            for piece in reader.pieces():
                found += flat([piece])
            break
        except BlockHashError:
            errors += 1
    assert errors == len(numbers)
    assert found == [block for number, block in enumerate(good) if number not in numbers]


def test_many_bad_blocks_take_linear_time(monkeypatch):
    count, hashed = 600, 0
    damaged = bad(numbered(count), *range(0, count, 2))
    real = car.hashlib.sha256

    def counting(data: bytes):
        nonlocal hashed
        hashed += 1
        return real(data)

    monkeypatch.setattr(car.hashlib, "sha256", counting)
    reader, errors = CarReader(io.BytesIO(make_car(ROOT, damaged))), 0
    while True:
        try:
            list(reader.pieces())
            break
        except BlockHashError:
            errors += 1
    assert errors == count // 2
    assert hashed < 10 * count


def test_a_bad_block_is_named_before_the_cut_one_behind_it():
    good = numbered(5)
    file = make_car(ROOT, bad(good, 2)) + encode_varint(5000) + good[0][0]
    pieces = CarReader(io.BytesIO(file)).pieces()
    assert flat([next(pieces)]) == good[:2]
    with pytest.raises(BlockHashError) as caught:
        next(pieces)
    assert caught.value.offset == file.index(good[2][0])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (b"\x05short", "claims a length of 5"),
        (b"\xff\xff\xff\xff\x7f", "claims a length of"),
        (encode_varint(40) + bytes(40), "not of the kind"),
        (encode_varint(60) + cid_of(b"")[:20], "the file ends"),
    ],
)
def test_a_structural_fault_is_raised_after_the_good_blocks_before_it(fault, message):
    good = numbered(5)
    file = make_car(ROOT, good)
    pieces = CarReader(io.BytesIO(file + fault + bytes(40 if fault[0] != 60 else 0))).pieces()
    assert flat([next(pieces)]) == good
    with pytest.raises(CarError, match=message) as caught:
        next(pieces)
    assert not isinstance(caught.value, BlockHashError)
    assert caught.value.offset is not None
    assert caught.value.offset >= len(file)


@pytest.mark.parametrize(
    ("datas", "numbers"),
    [
        ([NEEDLE, b"x", b"x" + NEEDLE, NEEDLE + b"x"], [0, 2, 3]),
        ([NEEDLE[:3], NEEDLE[3:]], []),
        ([NEEDLE * 3, b"x" + NEEDLE + b"y" + NEEDLE, b""], [0, 1]),
        ([b"", b"n", NEEDLE[1:], NEEDLE[:-1]], []),
        ([b"x", b"x", NEEDLE], [2]),
    ],
)
def test_a_block_holds_what_stands_whole_in_its_data(datas, numbers):
    assert holding(*datas) == numbers


def test_what_stands_in_a_cid_or_across_a_block_s_edge_is_in_no_block():
    datas = [b"first", b"second", b"third"]
    cid = cid_of(datas[1])
    assert holding(*datas, needle=cid[4:12]) == []
    assert holding(*datas, needle=bytes(cid[-4:] + b"second")) == []
    (piece,) = pieces_of(blocks_of(*datas))
    across = piece.buffer[piece.positions[0] + 2 : piece.positions[1]]
    assert list(piece.holding(across)) == []


def test_what_stands_behind_a_piece_s_last_block_is_not_of_the_piece():
    good = numbered(3)
    damaged = [*good, (cid_of(b"other"), NEEDLE)]
    first = next(pieces_of(damaged))
    assert NEEDLE in first.buffer
    assert list(first.holding(NEEDLE)) == []
