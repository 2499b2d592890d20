"""A CAR file whose blocks are read by their CIDs: streamed once to check and to find them, and never held in memory.

Memory follows the number of blocks (about 200 bytes each, and at most `MAX_BLOCKS` of them), never their size.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.car import BlockHashError, CarError, CarReader
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, Cid
from eurosky_pipeline.atproto.mst_node import NODE_START
from eurosky_pipeline.atproto.varint import Readable
from eurosky_pipeline.errors import IntegrityError

MAX_BLOCKS: Final = 10_000_000
"""Some accounts have millions of records; a file of empty blocks could claim a hundred times as many."""

OnError = Callable[[IntegrityError], None]
"""Is told of a fault, and the reading goes on behind it."""

OnRead = Callable[[int], None]
"""Is told how many more bytes have been read."""

_MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
_KEPT_OVERHEAD_BYTES: Final = 150
"""About what an object and its place in a dict take, however short the data."""
_CLOSED: Final = -1

# An entry of the index: the data's offset, three marks and the data's length, in one integer.
_OFFSET_SHIFT: Final = 26
_REACHED: Final = 1 << 25
_SOUND: Final = 1 << 24
_FAULTY: Final = 1 << 23
_LENGTH_MASK: Final = _FAULTY - 1


class RepoError(IntegrityError):
    """The blocks are sound, but they do not make a whole repository."""

    default_code = "repo"


class BlockMissingError(RepoError):
    """The repository needs a block that the file does not hold.

    Args:
        cid: of the block.
        offset: of the block that links to it, where that is known.
    """

    default_code = "block_missing"

    def __init__(self, message: str, *, cid: bytes, offset: int | None = None) -> None:
        super().__init__(message, offset=offset)
        self.cid = cid


class IndexedCar:
    """An opened file; `close` it.

    Attributes:
        root: the one root that the header names.
        duplicate_count: blocks that came more than once.
        reached_count: distinct blocks that `reach` was told of.
        size_bytes: of the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        with_records: bool = False,
        on_error: OnError | None = None,
        on_read: OnRead | None = None,
        max_blocks: int = MAX_BLOCKS,
    ) -> None:
        """Stream the file once, check every block against its CID, and note where it stands.

        Args:
            with_records: also decode each block that may be a record, while it is in memory anyway, and remember the
                good ones for `is_sound_record`. A bad one is no error by itself: it may be an orphan.
            on_error: is told of each block that does not hash to its CID, and of the place where the file stops being
                a CAR: such blocks, and what stands behind that place, are taken as missing. Without it, both are
                raised.
            on_read: is told of bytes as they are read.

        Raises:
            CarError, VarintError: the file is not a whole CAR with one root, or has more than `max_blocks` blocks.
        """
        self._entries: dict[bytes, int] = {}
        self._kept_nodes: dict[bytes, bytes] = {}
        self._kept_bytes = 0
        self.duplicate_count = 0
        self.reached_count = 0
        self._descriptor = open_regular_file(path)
        try:
            with os.fdopen(self._descriptor, "rb", buffering=0, closefd=False) as stream:
                reader = CarReader(stream if on_read is None else Watched(stream, on_read))
                self.root = the_root(reader)
                while fault := self._index_blocks(reader, max_blocks, with_records=with_records):
                    if on_error is None:
                        raise fault
                    on_error(fault)
                    if not isinstance(fault, BlockHashError):
                        break
            self.size_bytes = os.fstat(self._descriptor).st_size
        except BaseException:
            self.close()
            raise

    def __contains__(self, cid: bytes) -> bool:
        return cid in self._entries

    def __len__(self) -> int:
        """Distinct blocks."""
        return len(self._entries)

    def close(self) -> None:
        """May be called more than once."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def block(self, cid: bytes) -> bytes:
        """A block's data.

        Raises:
            RepoError: the file does not hold it, or has been cut since it was opened.
            ValueError: it has been closed.
        """
        if self._descriptor == _CLOSED:
            raise ValueError("the repository's file has been closed")
        kept = self._kept_nodes.get(cid)
        if kept is not None:
            return kept
        entry = self._entries.get(cid)
        if entry is None:
            raise BlockMissingError(f"the block {Cid(cid)} is missing from the file", cid=cid)
        length = entry & _LENGTH_MASK
        data = os.pread(self._descriptor, length, entry >> _OFFSET_SHIFT)
        if len(data) != length:
            raise RepoError("the file has become shorter since it was opened", offset=self.offset(cid))
        return data

    def offset(self, cid: bytes) -> int:
        """Where in the file a block's data begin, in bytes. Raises KeyError if the file does not hold it."""
        return self._entries[cid] >> _OFFSET_SHIFT

    def length(self, cid: bytes) -> int:
        """How many bytes a block's data are. Raises KeyError if the file does not hold it."""
        return self._entries[cid] & _LENGTH_MASK

    def is_sound_record(self, cid: bytes) -> bool:
        """Whether the block is known to be a map in strict DAG-CBOR; if not, it may still be one."""
        return self._entries.get(cid, 0) & _SOUND != 0

    def is_faulty_record(self, cid: bytes) -> bool:
        """Whether the block is known to be no map in strict DAG-CBOR."""
        return self._entries.get(cid, 0) & _FAULTY != 0

    def note_record(self, cid: bytes, *, is_sound: bool) -> None:
        """Remember what has been found out, for many keys can name one large block. Raises KeyError without it."""
        self._entries[cid] |= _SOUND if is_sound else _FAULTY

    def reach(self, cid: bytes) -> bool:
        """Note that the root leads to a block; False if the file does not hold it."""
        entry = self._entries.get(cid)
        if entry is None:
            return False
        if not entry & _REACHED:
            self._entries[cid] = entry | _REACHED
            self.reached_count += 1
        return True

    def _index_blocks(self, reader: CarReader, max_blocks: int, *, with_records: bool) -> IntegrityError | None:
        """Note the blocks up to the end of the file, or up to the first fault, which is returned."""
        entries, kept_nodes = self._entries, self._kept_nodes
        try:
            for cid, data, offset in reader:
                if cid in entries:
                    self.duplicate_count += 1
                    continue
                mark = 0
                if data.startswith(NODE_START):
                    # a file is read by pieces, but its tree in leaps: each saved read is a call to the system
                    self._kept_bytes += len(data) + _KEPT_OVERHEAD_BYTES
                    if self._kept_bytes <= _MAX_KEPT_BYTES:
                        kept_nodes[cid] = data
                elif with_records and _is_record(data):
                    mark = _SOUND
                entries[cid] = offset << _OFFSET_SHIFT | mark | len(data)
                if len(entries) > max_blocks:
                    return CarError(f"the file holds more than {max_blocks} blocks", offset=offset)
        except IntegrityError as fault:
            return fault
        return None


class Watched:
    """A stream whose reader is told of the bytes as they are read."""

    def __init__(self, stream: Readable, on_read: OnRead) -> None:
        self._stream = stream
        self._on_read = on_read

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._on_read(len(data))
        return data


def open_regular_file(path: Path) -> int:
    """A descriptor for reading, to be closed by the caller. Raises CarError for what can be read once only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CarError("this is no regular file, and can be read once only", hint="save it as a file first")
    return descriptor


def the_root(reader: CarReader) -> Cid:
    """The one root of a repository's CAR. Raises CarError if there are others, or it can be no commit."""
    if len(reader.roots) != 1:
        raise CarError(f"a repository has one root, and this file {len(reader.roots)}", offset=0)
    if reader.roots[0].codec != CODEC_DAG_CBOR:
        raise CarError("the root is not a link to DAG-CBOR, as a commit is", offset=0)
    return reader.roots[0]


def _is_record(data: bytes) -> bool:
    try:
        return type(dag_cbor.decode(data)) is dict
    except IntegrityError:
        return False
