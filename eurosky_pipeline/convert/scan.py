"""The first reading of a CAR: every block hashed, and noted of it only what a conversion will need.

Of a record that stays as it is, 31 bytes of its CID are kept; of a node of the tree, where it stands; of a record that
may change, that too. What names records of this repository is looked for only from the first record on that may change:
most repositories have none.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from eurosky_pipeline.atproto.car import Block, CarError, CarReader
from eurosky_pipeline.atproto.cid import CID_BYTES, Cid
from eurosky_pipeline.atproto.commit import Commit, parse_commit
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
from eurosky_pipeline.convert.strong_refs import cid_texts, own_prefix
from eurosky_pipeline.errors import IntegrityError

Scanner = tuple[bytes, Callable[[bytes], bool]]
"""Whether the record in a block may have to be changed; asked only where the block holds the bytes before."""

SHORT: Final = slice(1, 32)
"""The part of a CID that is kept: its codec and 224 bits of its digest. One byte more would take 16 more in memory."""

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
        records: every block that is neither the commit nor looks like a node, by `SHORT` of its CID; True where the
            tree was found to lead to it.
        nodes: the place of each block that looks like a node, by CID.
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
        self._kept_nodes: dict[bytes, bytes] = {}
        self._mentioned, self._mentioning = array("q"), array("Q")
        self._descriptor = open_regular_file(path)
        try:
            self._state = self._file_state()
            self.size_bytes = os.fstat(self._descriptor).st_size
            self.root, self.commit = self._find_commit()
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
        return self._kept_nodes.pop(cid, None) or self.block_at(place)

    def is_tree_node(self, cid: bytes) -> bool:
        """Whether `node` was asked for this one."""
        return self.nodes[cid] & _REACHED != 0

    def orphan_nodes(self) -> list[int]:
        """The places of all that looks like a node, and that `node` was not asked for."""
        return [place for place in self.nodes.values() if not place & _REACHED]

    def orphan_records(self) -> list[int]:
        """The places of all in `records` that are not marked there. Reads the file again if there are any."""
        if None not in self.records.values():
            return []
        return [
            offset << _OFFSET_SHIFT | len(data)
            for cid, data, offset in self._reader()
            if self.records.get(cid[SHORT], True) is None and cid != self.root
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

    def _reader(self, on_read: OnRead | None = None) -> CarReader:
        stream: BinaryIO = os.fdopen(self._descriptor, "rb", buffering=0, closefd=False)
        stream.seek(0)
        return CarReader(stream if on_read is None else Watched(stream, on_read))

    def _find_commit(self) -> tuple[Cid, Commit]:
        """Nearly always in the first block; whose repository it is has to be known before the others are read."""
        reader = self._reader()
        root = the_root(reader)
        for cid, data, offset in reader:
            if cid == root:
                try:
                    return root, parse_commit(data)
                except IntegrityError as error:
                    raise RepoError(f"the block {root} is {error.detail}", code=error.code, offset=offset) from None
        raise BlockMissingError(f"the commit is missing from the file: {root}", cid=root, offset=0)

    def _scan(self, scanners: Sequence[Scanner], on_read: OnRead | None) -> None:
        # Run for each of millions of blocks, so written for speed.
        records, nodes, kept_nodes, root, short = self.records, self.nodes, self._kept_nodes, self.root, SHORT
        find_needle = re.compile(b"|".join(re.escape(needle) for needle, _ in scanners)).search
        scans = [scan for _, scan in scanners]
        is_mentioning = self._note_mentions()
        first_candidate_offset = kept_bytes = 0
        reader = self._reader(on_read)
        self.first_block_offset = reader.first_block_offset
        for cid, data, offset in reader:
            known = len(records) + len(nodes)
            if data[:3] == NODE_START:
                if cid not in nodes:
                    nodes[cid] = offset << _OFFSET_SHIFT | len(data)
                    kept_bytes += len(data) + _KEPT_OVERHEAD_BYTES
                    if kept_bytes <= _MAX_KEPT_BYTES:
                        kept_nodes[cid] = data
            elif cid != root:
                records[cid[short]] = None
            if len(records) + len(nodes) == known:
                self.spare.append(offset << _OFFSET_SHIFT | len(data))
                continue
            if find_needle(data) is not None and sum([scan(data) for scan in scans]):
                self.candidates[cid] = offset << _OFFSET_SHIFT | len(data)
                first_candidate_offset = first_candidate_offset or offset
            if first_candidate_offset:
                is_mentioning(data, offset)
            if known > MAX_BLOCKS:
                raise CarError(f"the file holds more than {MAX_BLOCKS} blocks", offset=offset)
        if first_candidate_offset:
            for _, data, offset in self._blocks_before(first_candidate_offset):
                is_mentioning(data, offset)

    def _blocks_before(self, end: int) -> Iterator[Block]:
        for block in self._reader():
            if block[2] >= end:
                return
            yield block

    def _note_mentions(self) -> Callable[[bytes, int], None]:
        """A function that notes every CID that a block names, if it names this repository too."""
        prefix = own_prefix(self.commit.did).encode()
        find_name = re.compile(re.escape(prefix.rpartition(b":")[2])).search  # all AT-URIs begin alike
        mentioned, mentioning = self._mentioned.append, self._mentioning.append

        def note(data: bytes, offset: int) -> None:
            if find_name(data) is not None and prefix in data:
                for text in cid_texts(data):
                    mentioned(hash(text))
                    mentioning(offset << _OFFSET_SHIFT | len(data))

        return note
