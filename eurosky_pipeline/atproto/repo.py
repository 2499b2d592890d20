"""A repository in a CAR file: open it, walk its records, verify it whole.

Two passes, neither of which holds the file in memory. `open_repo` streams it once, hashes every block and keeps an
index of where each one stands; after that records are read by their place. Memory follows the number of blocks
(about 200 bytes each), never their size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import CarError, CarReader
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, Cid
from eurosky_pipeline.atproto.commit import Commit, parse_commit
from eurosky_pipeline.atproto.syntax import is_repo_path
from eurosky_pipeline.errors import IntegrityError

_T = TypeVar("_T")
_LENGTH_BITS = 24
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1
_READ_BUFFER_BYTES = 1024 * 1024
_CLOSED = -1


class RepoError(IntegrityError):
    """The blocks are sound, but they do not make a whole repository."""

    default_code = "repo"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `key` is `collection/rkey`; `value` is the decoded map."""

    key: str
    cid: Cid
    value: dict[str, Any]

    @property
    def collection(self) -> str:
        return self.key.partition("/")[0]


class RepoFile:
    """An opened repository; made by `open_repo`, closed by `with` or `close`.

    Attributes:
        root: the commit's CID, as the CAR's header names it.
        commit: the parsed commit.
        block_count: distinct blocks; duplicate_count: further copies of them; size_bytes: of the file.
    """

    def __init__(
        self, descriptor: int, root: Cid, index: dict[bytes, int], *, duplicate_count: int, size_bytes: int
    ) -> None:
        self._descriptor = descriptor
        self._index = index
        self.root = root
        self.block_count = len(index)
        self.duplicate_count = duplicate_count
        self.size_bytes = size_bytes
        self.commit: Commit = self._located(root, parse_commit)

    def __enter__(self) -> RepoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """May be called more than once."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def keys(self) -> Iterator[tuple[str, Cid]]:
        """Every (key, record CID), in key order, without reading the records. Raises MstError, RepoError."""
        return self._keys(self.block)

    def records(self) -> Iterator[Record]:
        """Every record, in key order, decoded.

        Raises:
            MstError, RepoError, CborError: the tree is not canonical, a block is missing, or a record is malformed.
        """
        for key, cid in self.keys():
            value = self._located(cid, dag_cbor.decode)
            if not isinstance(value, dict):
                raise RepoError(f"the record {key} is not a map", offset=self._place(cid)[0])
            yield Record(key, cid, value)

    def block(self, cid: bytes) -> bytes:
        """A block's data. Raises RepoError if the file does not hold it."""
        offset, length = self._place(cid)
        return os.pread(self._descriptor, length, offset)

    def orphan_count(self) -> int:
        """Distinct blocks that the commit does not lead to. Walks the tree. Raises as `keys`."""
        reached: set[bytes] = {self.root}

        def load(cid: bytes) -> bytes:
            reached.add(cid)
            return self.block(cid)

        reached.update(cid for _, cid in self._keys(load))
        return self.block_count - len(reached)

    def _keys(self, load: mst.LoadBlock) -> Iterator[tuple[str, Cid]]:
        try:
            for raw_key, cid in mst.walk(self.commit.data, load):
                key = raw_key.decode("ascii")
                if not is_repo_path(key):
                    raise RepoError(f"not a collection and record key: {key[:120]!r}")
                if cid not in self._index:
                    raise RepoError(f"the record {key} is missing from the file")
                yield key, cid
        except mst.MstError as error:
            raise mst.MstError(
                error.message, code=error.code, offset=self._place(error.node)[0], node=error.node
            ) from None

    def _place(self, cid: bytes) -> tuple[int, int]:
        try:
            packed = self._index[cid]
        except KeyError:
            raise RepoError(f"the block {Cid(cid)} is missing from the file") from None
        return packed >> _LENGTH_BITS, packed & _LENGTH_MASK

    def _located(self, cid: bytes, parse: Callable[[bytes], _T]) -> _T:
        """Parse a block; an error is told with its place in the file."""
        offset, _ = self._place(cid)
        try:
            return parse(self.block(cid))
        except IntegrityError as error:
            raise RepoError(f"the block {Cid(cid)} is {error.message}", code=error.code, offset=offset) from None


def open_repo(path: Path) -> RepoFile:
    """Stream the file once, check every block against its CID, and index it.

    Raises:
        CarError, VarintError: the file is not a whole CAR with one root.
        RepoError: the root is missing, or is no commit.
    """
    index: dict[bytes, int] = {}
    block_count = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with os.fdopen(descriptor, "rb", buffering=_READ_BUFFER_BYTES, closefd=False) as stream:
            reader = CarReader(stream)
            if len(reader.roots) != 1:
                raise CarError(f"a repository has one root, and this file {len(reader.roots)}", offset=0)
            if reader.roots[0].codec != CODEC_DAG_CBOR:
                raise CarError("the root is not a link to DAG-CBOR, as a commit is", offset=0)
            for block in reader:
                block_count += 1
                index.setdefault(block.cid, block.offset << _LENGTH_BITS | len(block.data))
        return RepoFile(
            descriptor,
            reader.roots[0],
            index,
            duplicate_count=block_count - len(index),
            size_bytes=os.fstat(descriptor).st_size,
        )
    except BaseException:
        os.close(descriptor)
        raise
