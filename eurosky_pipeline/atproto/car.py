"""CAR v1: a header that names the roots, then blocks, each with its length and its CID, one after another.

    header   varint length | DAG-CBOR {"roots": [CID], "version": 1}
    block    varint length | CID (36 bytes) | data
    block    …

Reading is a stream: a piece of the file in memory at a time, and each block hashed against its CID before it is
handed out. Spec: https://ipld.io/specs/transport/car/carv1/
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CID_BYTES, DAG_CBOR_PREFIX, RAW_PREFIX, Cid
from eurosky_pipeline.atproto.varint import MAX_VARINT_BYTES, Readable, encode_varint, read_varint
from eurosky_pipeline.errors import IntegrityError

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""More than any record (1 MiB by the specification) or tree node takes; a length prefix beyond it is hostile."""
_MAP: Final = 5  # major type of CBOR
_MIN_BLOCK_BYTES: Final = 1 + CID_BYTES
_FAR: Final = CID_BYTES + 2 * MAX_BLOCK_BYTES
_READ_BYTES: Final = 64 * 1024
"""Small enough to stay in the processor's cache: four times as much is a tenth slower."""

Block = tuple[bytes, bytes, int]
"""A block's CID (36 plain bytes, already checked), its data, and where in the file the data begin, in bytes.

A plain tuple: a large repository is made of millions.
"""


class CarError(IntegrityError):
    """The file is not a whole CAR v1."""

    default_code = "car"


class BlockHashError(CarError):
    """A block does not hash to its CID. What stands behind it can still be read."""

    default_code = "block_hash"


class Piece(NamedTuple):
    """Blocks that stand one behind the other.

    Attributes:
        offset: of `buffer`, in the file, in bytes.
        buffer: bytes of the file; there may be more in it than these blocks.
        positions: in the buffer, where each block's data begin.
        cids: 36 plain bytes each, already checked.
        datas: the blocks' data.
    """

    offset: int
    buffer: bytes
    positions: list[int]
    cids: list[bytes]
    datas: list[bytes]

    def holding(self, needle: bytes) -> Iterator[int]:
        """The numbers of the blocks that hold these bytes, one at least; ten times as fast as to ask each."""
        end = self.positions[-1] + len(self.datas[-1])
        found = self.buffer.find(needle, self.positions[0], end)
        while found >= 0:
            number = bisect_right(self.positions, found) - 1
            block_end = self.positions[number] + len(self.datas[number])
            if found + len(needle) <= block_end:
                yield number
                found = block_end
            else:
                found += 1
            found = self.buffer.find(needle, found, end)


class CarReader:
    """Read a CAR from a stream, front to back; iterate to get its blocks.

    Attributes:
        roots: the CIDs that the header names; at least one.
        first_block_offset: where the header ends, in bytes.

    An iteration that was left, by `break` or by a `BlockHashError`, is gone on with by the next one.

    Raises:
        CarError, VarintError: with the offset at which the file stops being a CAR.
        BlockHashError: with the offset of the block.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = b""  # read from the stream, and not cut yet
        self._offset = 0  # of the buffer, in the file
        self._reach = _FAR  # in the buffer, up to where blocks are cut together, in bytes
        self._blocks: Iterator[Block] = iter(())  # cut, and not handed out yet
        self.roots = self._read_header()
        self.first_block_offset = self._offset

    def __iter__(self) -> Iterator[Block]:
        yield from self._blocks
        for piece in self.pieces():
            offsets = [piece.offset + position for position in piece.positions]
            self._blocks = zip(piece.cids, piece.datas, offsets, strict=True)
            yield from self._blocks

    def pieces(self, *, are_known: bool = False) -> Iterator[Piece]:
        """The same blocks, as many at a time as were read at once, for who has to be quick; raises as an iteration.

        Args:
            are_known: by an earlier reading of these very bytes, so that they are not hashed again: half of the time.
        """
        # Run for millions of blocks, so written for speed: local names, one loop that cuts, with no call for the usual
        # short varint, and one comparison for all, which holds only if every CID's kind and digest are right.
        sha256, prefix, cid_bytes, needed = hashlib.sha256, DAG_CBOR_PREFIX, CID_BYTES, _MIN_BLOCK_BYTES
        while buffer := self._filled(needed):
            offset, position, size, needed = self._offset, 0, len(buffer), _MIN_BLOCK_BYTES
            last, positions, cids, datas = min(size - _MIN_BLOCK_BYTES, self._reach), [], [], []
            try:
                while position <= last:
                    length, start = buffer[position], position + 1
                    if length >= 0x80:
                        if 0 < (second := buffer[start]) < 0x80:
                            length, start = length - 0x80 | second << 7, position + 2
                        else:
                            length, start = _long_length(buffer, position, offset)
                    end = start + length
                    if end > size:
                        needed = end - position
                        break
                    if length < cid_bytes:
                        raise _bad_length(length, offset + start)
                    cids.append(buffer[start : (start := start + cid_bytes)])
                    datas.append(buffer[start:end])
                    positions.append(start)
                    position = end
            except IntegrityError:
                if not datas:
                    raise
            digests = [] if are_known else [sha256(data).digest() for data in datas]
            if digests and b"".join(cids) != prefix + prefix.join(digests):
                good = self._count_good(cids, datas, positions)
                del cids[good:], datas[good:], positions[good:]
                position, needed = positions[-1] + len(datas[-1]), _MIN_BLOCK_BYTES
            self._go_on_at(position)
            if datas:
                yield Piece(offset, buffer, positions, cids, datas)

    def _count_good(self, cids: list[bytes], datas: list[bytes], positions: list[int]) -> int:
        """How many blocks come before one that is at fault; at least one.

        Raises CarError if that is the first; the rest can still be read if it does just not hash to its CID.
        """
        for number, (cid, data, position) in enumerate(zip(cids, datas, positions, strict=True)):
            try:
                _check_other(cid, data, self._offset + position - CID_BYTES)
            except CarError as error:
                self._reach = 0  # what stands behind it shall not be hashed again and again
                if number:
                    return number
                if isinstance(error, BlockHashError):
                    self._go_on_at(position + len(data))
                raise
        return len(cids)

    def _go_on_at(self, position: int) -> None:
        self._buffer, self._offset = self._buffer[position:], self._offset + position
        self._reach = min(2 * self._reach + _MIN_BLOCK_BYTES, _FAR)

    def _filled(self, needed: int) -> bytes:
        """The buffer with at least `needed` bytes in it; empty at the end of the file."""
        pieces, length = [self._buffer], len(self._buffer)
        while length < needed:
            piece = self._stream.read(max(_READ_BYTES, needed - length))
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
        self._buffer = b"".join(pieces)
        if 0 < length < needed:
            raise self._cut_short()
        return self._buffer

    def _cut_short(self) -> CarError:
        length, start = _long_length(self._buffer, 0, self._offset)
        if length < CID_BYTES:
            return _bad_length(length, self._offset + start)
        missing = start + length - len(self._buffer)
        return CarError(f"the file ends {missing} bytes before the end of a block", offset=self._offset + start)

    def _read_header(self) -> tuple[Cid, ...]:
        found = read_varint(self._stream)
        if found is None:
            raise CarError("the file is empty", offset=0)
        length, width = found
        if not 1 <= length <= MAX_HEADER_BYTES:
            raise CarError(f"this is no CAR file: the header claims a length of {length} bytes", offset=0)
        data = bytearray(self._stream.read(1))
        if data and data[0] >> 5 != _MAP:  # a web page, say
            raise CarError("this is no CAR file: what stands at its beginning is no header", offset=0)
        while piece := self._stream.read(length - len(data)):
            data += piece
        if len(data) < length:
            raise CarError(f"the file ends {length - len(data)} bytes before the end of its header", offset=width)
        self._offset = width + length
        return _parse_header(bytes(data))


def read_root(path: Path) -> Cid:
    """The first root that a CAR file's header names; nothing else of it is read. Raises CarError, VarintError."""
    with path.open("rb") as stream:
        return CarReader(stream).roots[0]


def write_car(stream: BinaryIO, root: Cid, blocks: Iterable[tuple[bytes, bytes]]) -> None:
    """Write a CAR with one root and these (CID, data) blocks, in their order. The CIDs are taken as they are."""
    header = dag_cbor.encode({"roots": [root], "version": 1})
    stream.write(encode_varint(len(header)) + header)
    for cid, data in blocks:
        stream.write(encode_varint(len(cid) + len(data)) + cid + data)


def _parse_header(data: bytes) -> tuple[Cid, ...]:
    try:
        header = dag_cbor.decode(data)
    except dag_cbor.CborError as error:
        raise CarError(f"this is no CAR file: the header is {error.detail}", offset=0) from None
    if not isinstance(header, dict) or header.keys() != {"roots", "version"}:
        raise CarError("the header does not have exactly the fields roots and version", offset=0)
    if type(header["version"]) is not int or header["version"] != 1:
        raise CarError("this is no CAR file of version 1", offset=0)
    roots = header["roots"]
    if not isinstance(roots, list) or not roots or not all(isinstance(root, Cid) for root in roots):
        raise CarError("the header names no root", offset=0)
    return tuple(roots)


def _long_length(buffer: bytes, position: int, offset: int) -> tuple[int, int]:
    """A block's length, in a varint of any width, and the position behind it. `offset`: of the buffer, in the file."""
    found = read_varint(io.BytesIO(buffer[position : position + MAX_VARINT_BYTES]), offset=offset + position)
    assert found is not None  # noqa: S101 - there is a byte at least
    length, width = found
    if length > CID_BYTES + MAX_BLOCK_BYTES:
        raise _bad_length(length, offset + position + width)
    return length, position + width


def _bad_length(length: int, offset: int) -> CarError:
    return CarError(f"a block claims a length of {length} bytes", offset=offset)


def _check_other(cid: bytes, data: bytes, offset: int) -> None:
    """Raises CarError unless these are a raw block and its CID; all other blocks have been told apart before."""
    if cid[:4] not in (DAG_CBOR_PREFIX, RAW_PREFIX):
        raise CarError("a block's CID is not of the kind that the AT Protocol uses", offset=offset)
    if hashlib.sha256(data).digest() != cid[4:]:
        raise BlockHashError(f"the block does not hash to its CID {Cid(cid)}", offset=offset)
