"""The first reading of a CAR: every block hashed, and noted of it only what a conversion will need.

Of the tree, the hashes of all CIDs that it links to are kept, and of all blocks their sum: whether the file holds just
what the tree names is told by these. Python's hash of bytes is keyed by chance: that two sets which differ have the
same sum comes to pass once in 2**64, whoever made them. Where they have not, the file is read again, and indexed.

Where a node stands, and what names records of this repository, is noted only from the first record on that may change,
and from the commit on: most repositories have no such record. What passed by before is read again for that.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import accumulate, compress, count
from pathlib import Path
from typing import BinaryIO, Final

from eurosky_pipeline.atproto.car import CarError, CarReader, Piece
from eurosky_pipeline.atproto.cid import CID_BYTES, CODEC_DAG_CBOR
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
from eurosky_pipeline.atproto.mst_node import NODE_START, count_values, find_subtrees
from eurosky_pipeline.atproto.varint import encode_varint
from eurosky_pipeline.convert.strong_refs import cid_texts, own_prefix
from eurosky_pipeline.convert.tree_sums import TreeSums
from eurosky_pipeline.errors import IntegrityError

Scanner = Callable[[Piece], Iterable[int]]
"""The numbers of the blocks in a piece whose records may have to be changed."""

_BEYOND_NODES: Final = NODE_START[:-1] + bytes([NODE_START[-1] + 1])
# Where a block's data stand, in one integer: their offset, a mark, their length.
_OFFSET_SHIFT: Final = 24
MARK: Final = 1 << 23
"""A bit of a place that whoever keeps it may set."""
_LENGTH_MASK: Final = MARK - 1  # a block is at most 4 MiB long


class ScannedCar:
    """An opened file and what the scan found; `close` it.

    A *place* is an integer that tells `block_at` and `extent` where a block stands.

    Attributes:
        root, commit: of the repository.
        commit_place: of the first block that is the commit.
        size_bytes: of the file.
        candidates: the place of each block that a scanner found, by CID.
        first_block_offset: where the header ends, in bytes.
        record_count: how many keys the tree has, if sums tell that the file holds just the commit and the tree's
            blocks; where there are candidates, if each of these is there once, moreover, as a node or as a record,
            and nothing but a node looks like one.
    """

    def __init__(self, path: Path, scanners: Sequence[Scanner], on_read: OnRead | None = None) -> None:
        """Read and hash the whole file.

        Raises:
            CarError, VarintError: it is not a whole CAR with one root.
            RepoError: the root is missing, or is no commit.
        """
        self.candidates: dict[bytes, int] = {}
        self.commit_place = 0
        self._sums = TreeSums()
        self._block_count = self._hashes_sum = 0
        self._node_places, self._value_counts = array("Q"), array("L")
        self._subtree_hashes, self._subtree_counts = array("q"), array("L")
        self._are_all_nodes = True  # which look like one
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

    def pieces(self) -> Iterator[Piece]:
        """The whole file again, not hashed again; only one such reading at a time is of use."""
        return CarReader(self._stream()).pieces(are_known=True)

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """The same block by block: the CID of each, and its place."""
        for piece in self.pieces():
            for number, cid in enumerate(piece.cids):
                yield cid, block_in(piece, number)[2]

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

    def linking_nodes(self, cids: Set[bytes], *, are_nodes: bool) -> list[int]:
        """The places of the nodes that link to some of these blocks, in their order; by chance, others are among them.

        To be asked where there are candidates, and a `record_count`.

        Args:
            are_nodes: whether the blocks are nodes.
        """
        hashes, counts = (
            (self._subtree_hashes, self._subtree_counts) if are_nodes else (self._sums.hashes, self._value_counts)
        )
        found = compress(count(), map(set(map(hash, cids)).__contains__, hashes))
        ends = array("L", accumulate(counts))
        return [self._node_places[node] for node in sorted({bisect_right(ends, number) for number in found})]

    @property
    def linked_hashes(self) -> array[int]:
        """Of the CIDs of all blocks but commit and root, each once or more, where there is a `record_count`."""
        return self._sums.hashes + self._subtree_hashes

    def places_of(self, cids: Set[bytes]) -> list[int]:
        """Where these blocks stand, each as often as it stands there."""
        return [place for cid, place in self.blocks() if cid in cids]

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
        stream = os.fdopen(self._descriptor, "rb", buffering=0, closefd=False)
        stream.seek(0)
        return stream

    def _scan(self, scanners: Sequence[Scanner], on_read: OnRead | None) -> None:
        stream, noted_from = self._stream(), -1
        reader = CarReader(stream if on_read is None else Watched(stream, on_read))
        self.first_block_offset = reader.first_block_offset
        self.root = the_root(reader)
        for piece in reader.pieces():
            if self._block_count + len(piece.cids) > MAX_BLOCKS:
                raise CarError(f"the file holds more than {MAX_BLOCKS} blocks", offset=0)
            self._block_count += len(piece.cids)
            self._hashes_sum += sum(map(hash, piece.cids))
            nodes = nodes_in(piece)
            self._sums.add([piece.cids[node] for node in nodes], [piece.datas[node] for node in nodes])
            if not self.commit_place and self.root in piece.cids:
                self._take_commit(*block_in(piece, piece.cids.index(self.root))[1:])
            for scan in scanners:
                for number in scan(piece):
                    cid, _, place = block_in(piece, number)
                    self.candidates.setdefault(cid, place)
            if self.candidates and self.commit_place:  # which tells whose references to it are to be noted
                noted_from = piece.offset if noted_from < 0 else noted_from
                self._note(piece)
        if not self.commit_place:
            raise BlockMissingError(f"the commit is missing from the file: {self.root}", cid=self.root, offset=0)
        if self.candidates:
            self._catch_up(noted_from)
        self.record_count = self._count_by_sums()

    def _count_by_sums(self) -> int | None:
        if not self._are_all_nodes:
            return None
        others = self._block_count - 1, self._hashes_sum - hash(self.root)
        return self._sums.count_records(self.commit.data, *others, is_each_single=bool(self.candidates))

    def _take_commit(self, data: bytes, place: int) -> None:
        try:
            self.commit = parse_commit(data)
        except IntegrityError as error:
            text = f"the block {self.root} is {error.detail}"
            raise RepoError(text, code=error.code, offset=self.offset_of(place)) from None
        self.commit_place = place
        self._own_prefix = own_prefix(self.commit.did).encode()

    def _catch_up(self, noted_from: int) -> None:
        """Make good for what passed by before there was anything to convert, and before the commit."""
        noted = self._node_places, self._value_counts, self._subtree_hashes, self._subtree_counts
        later = [kept[:] for kept in noted]
        for kept in noted:
            del kept[:]
        for piece in self.pieces():
            if piece.offset >= noted_from:
                break
            self._note(piece)
        for kept, behind in zip(noted, later, strict=True):
            kept.extend(behind)

    def _note(self, piece: Piece) -> None:
        """Where its nodes stand, and which of its records name others."""
        nodes = nodes_in(piece)
        self._node_places.extend([block_in(piece, number)[2] for number in nodes])
        counts = [count_values(piece.datas[number]) for number in nodes]
        self._are_all_nodes = self._are_all_nodes and None not in counts
        self._value_counts.extend([values or 0 for values in counts])
        for number in nodes:
            subtrees = find_subtrees(piece.datas[number])
            self._subtree_hashes.extend(map(hash, subtrees))
            self._subtree_counts.append(len(subtrees))
        for number in piece.holding(self._own_prefix):
            cid, data, place = block_in(piece, number)
            if cid[1] == CODEC_DAG_CBOR:  # else no key can name it
                for text in cid_texts(data):
                    self._mentioned.append(hash(text))
                    self._mentioning.append(place)


def nodes_in(piece: Piece) -> list[int]:
    """The numbers of the blocks that look like nodes, rising."""
    return [number for number, data in enumerate(piece.datas) if _BEYOND_NODES > data >= NODE_START]


def block_in(piece: Piece, number: int) -> tuple[bytes, bytes, int]:
    """A block's CID, its data and its place."""
    data = piece.datas[number]
    return piece.cids[number], data, _place(data, piece.offset + piece.positions[number])


def _place(data: bytes, offset: int) -> int:
    return offset << _OFFSET_SHIFT | len(data)
