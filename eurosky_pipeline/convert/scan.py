"""The first reading of a CAR: every block hashed, and noted of it only what a conversion will need.

Memory follows the number of tree nodes (a quarter of the blocks) and of the records that may change; of all other
records nothing is kept.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from eurosky_pipeline.atproto.car import CarError, CarReader
from eurosky_pipeline.atproto.cid import Cid
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
from eurosky_pipeline.atproto.varint import Readable
from eurosky_pipeline.convert.strong_refs import cid_texts, own_prefix
from eurosky_pipeline.errors import IntegrityError

Scanner = tuple[bytes, Callable[[bytes], bool]]
"""Whether the record in a block may have to be changed; asked only where the block holds the bytes before."""

_MAX_KEPT_BYTES: Final = 12 * 1024 * 1024
_KEPT_OVERHEAD_BYTES: Final = 150
_LENGTH_BITS: Final = 23  # a block is at most 4 MiB long
_LENGTH_MASK: Final = (1 << _LENGTH_BITS) - 1


class ScannedCar:
    """An opened file and what the scan found; `close` it.

    Attributes:
        root, commit: of the repository.
        size_bytes, block_count: of the file; duplicates are counted.
        nodes: the place of each block that may be a node of the tree, by CID.
        candidates: the place of each block that a scanner said yes to, by CID.
    """

    def __init__(self, path: Path, scanners: Iterable[Scanner], on_read: OnRead | None = None) -> None:
        """Read and hash the whole file.

        Raises:
            CarError, VarintError: it is not a whole CAR with one root.
            RepoError: the root is missing, or is no commit.
        """
        self.nodes: dict[bytes, int] = {}
        self.candidates: dict[bytes, int] = {}
        self._kept_nodes: dict[bytes, bytes] = {}
        self._mentioned, self._mentioning = array("q"), array("Q")
        self.descriptor = open_regular_file(path)
        try:
            self._state = self._file_state()
            self.size_bytes = os.fstat(self.descriptor).st_size
            self.root, self.commit = self._find_commit()
            self._scan(tuple(scanners), on_read)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """May be called more than once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def check_unchanged(self) -> None:
        """Raises CarError if somebody has written to the file since it was hashed."""
        if self._file_state() != self._state:
            raise CarError("the file was written to while it was read", hint="convert it again when it is at rest")

    def block_at(self, place: int) -> bytes:
        """The data of a block at its place. Raises CarError if the file has become shorter."""
        length = place & _LENGTH_MASK
        data = os.pread(self.descriptor, length, place >> _LENGTH_BITS)
        if len(data) != length:
            raise CarError("the file has become shorter while it was read", offset=place >> _LENGTH_BITS)
        return data

    def node(self, cid: bytes) -> bytes:
        """A node's block, handed out once from memory and then from the file. Raises BlockMissingError."""
        kept = self._kept_nodes.pop(cid, None)
        if kept is not None:
            return kept
        place = self.nodes.get(cid)
        if place is None:
            raise BlockMissingError(f"a node of the tree is missing from the file: {Cid(cid)}", cid=cid)
        return self.block_at(place)

    def place_of_node(self, cid: bytes) -> int | None:
        """Where a node's data begin in the file, in bytes."""
        place = self.nodes.get(cid)
        return None if place is None else place >> _LENGTH_BITS

    def mentions(self) -> dict[int, list[int]]:
        """By the hash of a CID's text, the places of the records that name it and, somewhere, this repository.

        Two texts may have one hash: who is led to a record has to look at it. Built anew each time.
        """
        found: dict[int, list[int]] = {}
        for text_hash, place in zip(self._mentioned, self._mentioning, strict=True):
            found.setdefault(text_hash, []).append(place)
        return found

    def _file_state(self) -> tuple[int, int]:
        state = os.fstat(self.descriptor)
        return state.st_size, state.st_mtime_ns

    def stream(self) -> BinaryIO:
        """The file from its first byte, in pieces as asked for; only one at a time is of use."""
        stream = os.fdopen(self.descriptor, "rb", buffering=0, closefd=False)
        stream.seek(0)
        return stream

    def _find_commit(self) -> tuple[Cid, Commit]:
        """Nearly always in the first block; whose repository it is has to be known before the others are read."""
        reader = CarReader(self.stream())
        root = the_root(reader)
        for cid, data, offset in reader:
            if cid == root:
                try:
                    return root, parse_commit(data)
                except IntegrityError as error:
                    raise RepoError(f"the block {root} is {error.detail}", code=error.code, offset=offset) from None
        raise BlockMissingError(f"the commit is missing from the file: {root}", cid=root, offset=0)

    def _scan(self, scanners: tuple[Scanner, ...], on_read: OnRead | None) -> None:
        # Run for each of millions of blocks, so written for speed.
        nodes, candidates, kept_nodes, root = self.nodes, self.candidates, self._kept_nodes, self.root
        mentioned, mentioning = self._mentioned, self._mentioning
        prefix = own_prefix(self.commit.did).encode()
        find_name = re.compile(re.escape(prefix.rpartition(b":")[2])).search  # all other AT-URIs begin alike
        find_needle = re.compile(b"|".join(re.escape(needle) for needle, _ in scanners)).search
        scans = [scan for _, scan in scanners]
        count = kept_bytes = 0
        stream: Readable = self.stream()
        reader = CarReader(stream if on_read is None else Watched(stream, on_read))
        for cid, data, offset in reader:
            count += 1
            if data[:3] == NODE_START:
                if cid in nodes:
                    continue
                nodes[cid] = offset << _LENGTH_BITS | len(data)
                kept_bytes += len(data) + _KEPT_OVERHEAD_BYTES
                if kept_bytes <= _MAX_KEPT_BYTES:
                    kept_nodes[cid] = data
            if find_needle(data) is not None and sum([scan(data) for scan in scans]) and cid != root:
                candidates[cid] = offset << _LENGTH_BITS | len(data)
            if find_name(data) is not None and prefix in data:
                for text in cid_texts(data):
                    mentioned.append(hash(text))
                    mentioning.append(offset << _LENGTH_BITS | len(data))
            if count > MAX_BLOCKS:
                raise CarError(f"the file holds more than {MAX_BLOCKS} blocks", offset=offset)
        self.block_count = count
