"""The first reading of a CAR: every block hashed, and noted of it only what a conversion will need.

Of a record that stays as it is, the hash of its CID is kept; of a node of the tree, where it stands; of a record that
may change, that too. All this, and what names records of this repository, is noted only from the first record on that
may change: most repositories have none, and sums tell that these are whole.

Whether the records of the file are those of the tree is told by these hashes, their sum first. Python's hash of bytes
is keyed by chance: that two sets which differ have the same sum comes to pass once in 2**64, whoever made them. Where
the file holds more than the tree leads to, all records are indexed, at the price of reading it again.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import BinaryIO, Final

from eurosky_pipeline.atproto.car import CarError, CarReader, Piece
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_DAG_CBOR, Cid
from eurosky_pipeline.atproto.commit import parse_commit
from eurosky_pipeline.atproto.indexed_car import (
    MAX_BLOCKS,
    BlockMissingError,
    OnRead,
    RepoError,
    Watched,
    open_regular_file,
    the_root,
)
from eurosky_pipeline.atproto.mst_node import NODE_START
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline.convert.find_block import find_block
from eurosky_pipeline.convert.strong_refs import cid_texts, own_prefix
from eurosky_pipeline.convert.tree_sums import TreeSums
from eurosky_pipeline.errors import IntegrityError

Scanner = Callable[[Piece], Iterable[int]]
"""The numbers of the blocks in a piece whose records may have to be changed."""

SHORT: Final = slice(1, 32)
"""The part of a CID in the index: its codec and 224 bits of its digest. One byte more would take 16 more in memory."""

_BEYOND_NODES: Final = NODE_START[:-1] + bytes([NODE_START[-1] + 1])
_MAX_KEPT_BYTES: Final = 12 * 1024 * 1024
_KEPT_OVERHEAD_BYTES: Final = 150
# Where a block's data stand, in one integer: their offset, a mark, their length.
_OFFSET_SHIFT: Final = 24
_REACHED: Final = 1 << 23
_LENGTH_MASK: Final = _REACHED - 1  # a block is at most 4 MiB long


class ScannedCar:
    """An opened file and what the scan found; `close` it.

    A *place* is an integer that tells `block_at` and `extent` where a block stands.

    Attributes:
        root, commit: of the repository.
        size_bytes: of the file.
        records: once they are indexed, all blocks that are neither the commit nor look like nodes, by `SHORT` of
            their CIDs; True where the tree was found to lead to one.
        nodes: the place of each block that looks like a node, by CID; where there are no candidates, only after
            `index_nodes`.
        tree_sums: where there are no candidates, all that looks like a node.
        candidates: the place of each block that a scanner said yes to, by CID.
        spare: the places of the commit's block, and of further copies of any block.
        first_block_offset: where the header ends, in bytes.
    """

    def __init__(self, path: Path, scanners: Sequence[Scanner], on_read: OnRead | None = None) -> None:
        """Read and hash the whole file.

        Raises:
            CarError, VarintError: it is not a whole CAR with one root.
            RepoError: the root is missing, or is no commit.
        """
        self.records: dict[bytes, bool | None] = {}
        self.nodes: dict[bytes, int] = {}
        self.candidates: dict[bytes, int] = {}
        self.spare: list[int] = []
        self.tree_sums: TreeSums | None = None
        self._kept_nodes: dict[bytes, bytes] = {}
        self._left_bytes = _MAX_KEPT_BYTES
        self._indexed_from = 0
        self._block_count = 0
        self._hashes = array("q")  # of the CIDs of all blocks; where there are no candidates, as `nodes`
        self._hashes_sum = self._nodes_sum = 0  # of all blocks, and of those that are in `nodes`, as often
        self._mentioned, self._mentioning = array("q"), array("Q")
        self._descriptor = open_regular_file(path)
        try:
            self._state = self._file_state()
            self.size_bytes = os.fstat(self._descriptor).st_size
            self._scan(scanners, on_read)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """May be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def check_unchanged(self) -> None:
        """Raises CarError if somebody has written to the file since it was hashed."""
        if self._file_state() != self._state:
            raise CarError("the file was written to while it was read", hint="convert it again when it is at rest")

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file. Raises CarError if it has become shorter."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise CarError("the file has become shorter while it was read", offset=offset)
        return data

    def block_at(self, place: int) -> bytes:
        """A block's data. Raises as `read`."""
        return self.read(place >> _OFFSET_SHIFT, place & _LENGTH_MASK)

    def extent(self, place: int) -> tuple[int, int]:
        """Where a block begins and ends in the file, its length and its CID with it."""
        offset, length = place >> _OFFSET_SHIFT, place & _LENGTH_MASK
        return offset - CID_BYTES - len(encode_varint(CID_BYTES + length)), offset + length

    def offset_of(self, place: int) -> int:
        """Where a block's data begin, in bytes."""
        return place >> _OFFSET_SHIFT

    def node(self, cid: bytes) -> bytes:
        """A node's block, as the tree leads to it. Raises BlockMissingError, or RepoError: it does a second time."""
        place = self.nodes.get(cid)
        if place is None:
            raise BlockMissingError(f"a node of the tree is missing from the file: {Cid(cid)}", cid=cid)
        if place & _REACHED:
            raise RepoError(f"the tree leads to a node twice: {Cid(cid)}", offset=self.offset_of(place))
        self.nodes[cid] = place | _REACHED
        return self._kept_nodes.pop(cid, b"") or self.block_at(place)

    def is_tree_node(self, cid: bytes) -> bool:
        """Whether `node` was asked for this one."""
        return self.nodes[cid] & _REACHED != 0

    def orphan_nodes(self) -> list[int]:
        """The places of all that looks like a node, and that `node` was not asked for."""
        return [place for place in self.nodes.values() if not place & _REACHED]

    def holds(self, hashes: array[int]) -> bool:
        """Whether there is a block for each of these hashes of CIDs; to be asked when the nodes are indexed."""
        return self.holds_just(hashes) or not set(hashes).difference(self._hashes)

    def holds_just(self, hashes: Iterable[int]) -> bool:
        """Whether the blocks that do not look like nodes are the commit and those with these hashes, each as often."""
        return sum(hashes) == self._hashes_sum - self._nodes_sum - hash(self.root)

    def index_records(self) -> None:
        """Fill `records`, and add to `spare` what there is of them twice. Reads the file again."""
        for cid, data, offset in CarReader(self._stream()):
            if data[:3] == NODE_START or (cid == self.root and _place(data, offset) in self.spare):
                continue
            if cid == self.root or cid[SHORT] in self.records:
                self.spare.append(_place(data, offset))
            else:
                self.records[cid[SHORT]] = None

    def places_of(self, cids: Set[bytes]) -> list[int]:
        """Where these blocks stand, if some of them do, each as often as it stands there."""
        if {hash(cid) for cid in cids}.isdisjoint(self._hashes):
            return []
        return [_place(data, offset) for cid, data, offset in CarReader(self._stream()) if cid in cids]

    def orphan_records(self) -> list[int]:
        """The places of all in `records` that are not marked there. Reads the file again if there are any."""
        if None not in self.records.values():
            return []
        return [
            _place(data, offset)
            for cid, data, offset in CarReader(self._stream())
            if self.records.get(cid[SHORT], True) is None
        ]

    def mentions(self) -> dict[int, list[int]]:
        """By the hash of a CID's text, the places of the records that name it and, somewhere, this repository.

        Two texts may have one hash: who is led to a record has to look at it. Built anew each time.
        """
        found: dict[int, list[int]] = {}
        for text_hash, place in zip(self._mentioned, self._mentioning, strict=True):
            places = found.setdefault(text_hash, [])
            if not places or places[-1] != place:
                places.append(place)
        return found

    def _file_state(self) -> tuple[int, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_mtime_ns

    def _stream(self) -> BinaryIO:
        """The file from its first byte; only one such stream at a time is of use."""
        stream = os.fdopen(self._descriptor, "rb", buffering=0, closefd=False)
        stream.seek(0)
        return stream

    def _scan(self, scanners: Sequence[Scanner], on_read: OnRead | None) -> None:
        sums, stream = TreeSums(), self._stream()
        reader = CarReader(stream if on_read is None else Watched(stream, on_read))
        self.first_block_offset = reader.first_block_offset
        self.root = the_root(reader)
        for piece in reader.pieces():
            if self._block_count + len(piece.cids) > MAX_BLOCKS:
                raise CarError(f"the file holds more than {MAX_BLOCKS} blocks", offset=0)
            self._block_count += len(piece.cids)
            self._hashes_sum += sum(map(hash, piece.cids))
            if not self.spare and self.root in piece.cids:
                self._take_commit(*_block(piece, piece.cids.index(self.root))[1:])
            is_first = not self.candidates
            for scan in scanners:
                for number in scan(piece):
                    cid, _, place = _block(piece, number)
                    self.candidates.setdefault(cid, place)
            if not self.candidates:
                sums.add([data for data in piece.datas if _BEYOND_NODES > data >= NODE_START])
                continue
            if is_first:
                self._indexed_from = piece.offset
                self._look_ahead_for_commit(piece)
            self._note(piece)
        if not self.spare:
            raise self._commit_missing()
        if not self.candidates:
            self.tree_sums = sums
        else:
            self._catch_up()

    def _take_commit(self, data: bytes, place: int) -> None:
        try:
            self.commit = parse_commit(data)
        except IntegrityError as error:
            text = f"the block {self.root} is {error.detail}"
            raise RepoError(text, code=error.code, offset=self.offset_of(place)) from None
        self.spare.append(place)
        self._own_prefix = own_prefix(self.commit.did).encode()

    def _look_ahead_for_commit(self, piece: Piece) -> None:
        """It may stand anywhere, and whose repository it is has to be known before mentions are noted."""
        if self.spare:
            return
        found = find_block(self.read, self.root, piece.offset, self.size_bytes)
        if found is None:
            raise self._commit_missing()
        offset, data = found
        self._take_commit(data, _place(data, offset))

    def _commit_missing(self) -> BlockMissingError:
        return BlockMissingError(f"the commit is missing from the file: {self.root}", cid=self.root, offset=0)

    def count_by_sums(self) -> int | None:
        """How many records the tree has, if sums can tell that the file holds just the commit and the tree's blocks."""
        if self.tree_sums is None:
            return None
        others = self._block_count - 1, self._hashes_sum - hash(self.root)
        return self.tree_sums.count_records(self.commit.data, *others)

    def index_nodes(self) -> None:
        """Fill `nodes`, and note all hashes, where the scan has not done it. Reads the file again."""
        if self.tree_sums is not None:
            self.tree_sums = None
            for piece in CarReader(self._stream()).pieces():
                self._note_blocks(piece)

    def _catch_up(self) -> None:
        """Make good for what passed by before there was anything to convert."""
        for piece in CarReader(self._stream()).pieces():
            if piece.offset >= self._indexed_from:
                return
            self._note(piece)

    def _note(self, piece: Piece) -> None:
        self._note_blocks(piece)
        self._note_mentions(piece)

    def _note_blocks(self, piece: Piece) -> None:
        self._hashes.extend(array("q", [*map(hash, piece.cids)]))
        for number in [number for number, data in enumerate(piece.datas) if _BEYOND_NODES > data >= NODE_START]:
            cid, data, place = _block(piece, number)
            self._nodes_sum += hash(cid)
            if cid in self.nodes:
                self.spare.append(place)
                continue
            self.nodes[cid] = place
            self._left_bytes -= len(data) + _KEPT_OVERHEAD_BYTES
            if self._left_bytes >= 0:
                self._kept_nodes[cid] = data

    def _note_mentions(self, piece: Piece) -> None:
        for number in piece.holding(self._own_prefix):
            cid, data, place = _block(piece, number)
            if cid[1] == CODEC_DAG_CBOR:  # else no key can name it
                for text in cid_texts(data):
                    self._mentioned.append(hash(text))
                    self._mentioning.append(place)


def _block(piece: Piece, number: int) -> tuple[bytes, bytes, int]:
    """A block's CID, its data and its place."""
    data = piece.datas[number]
    return piece.cids[number], data, _place(data, piece.offset + piece.positions[number])


def _place(data: bytes, offset: int) -> int:
    return offset << _OFFSET_SHIFT | len(data)
