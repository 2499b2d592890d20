"""A repository in a CAR file: open it, walk its tree, read its records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.commit import Commit, parse_commit
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, IndexedCar, OnError, OnRead, RepoError
from eurosky_pipeline.atproto.syntax import is_repo_path
from eurosky_pipeline.errors import IntegrityError

__all__ = ["BlockMissingError", "Record", "RepoError", "RepoFile", "open_repo"]

# Keys may share a record's block. In an honest repository few do; in a hostile one a million share one of 4 MiB.
_MAX_SHARING: Final = 10
_FREE_READING_BYTES: Final = 64 * 1024 * 1024

_T = TypeVar("_T")


class Record(NamedTuple):
    """One record. `key` is `collection/rkey`; `value` is the decoded map."""

    key: str
    cid: Cid
    value: dict[str, Any]

    @property
    def collection(self) -> str:
        return self.key.partition("/")[0]

    @property
    def rkey(self) -> str:
        return self.key.partition("/")[2]


class RepoFile:
    """An opened repository; made by `open_repo`, closed by `with` or `close`.

    Attributes:
        root: the commit's CID, as the CAR's header names it.
        commit: the parsed commit.
        commit_offset: where in the file the commit's block begins, in bytes.
        block_count: distinct blocks; duplicate_count: further copies of them; size_bytes: of the file.
    """

    def __init__(self, car: IndexedCar) -> None:
        if car.root not in car:
            raise BlockMissingError(f"the commit is missing from the file: {car.root}", cid=car.root, offset=0)
        self._car = car
        self._is_walked = False
        self.root = car.root
        self.block_count = len(car)
        self.duplicate_count = car.duplicate_count
        self.size_bytes = car.size_bytes
        self.commit: Commit = self._parsed(car.root, parse_commit)
        self.commit_offset = car.offset(car.root)
        car.reach(car.root)

    def __enter__(self) -> RepoFile:
        return self

    def __repr__(self) -> str:
        return f"RepoFile(did={self.commit.did!r}, rev={self.commit.rev!r}, blocks={self.block_count})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """May be called more than once."""
        self._car.close()

    def keys(self, on_error: OnError | None = None) -> Iterator[tuple[str, Cid]]:
        """Every (key, record CID), in key order, without reading the records.

        Args:
            on_error: is told of each node and each record that is missing or wrong, which is then left out; without
                it, the first one is raised.

        Raises: MstError, RepoError.
        """
        reach = self._car.reach
        try:
            for raw_key, cid in mst.walk(self.commit.data, self._node, on_error=self._placing(on_error)):
                key = raw_key.decode("ascii")
                if reach(cid) and is_repo_path(key):
                    yield key, cid
                elif on_error is None:
                    raise self._unusable(key, cid)
                else:
                    on_error(self._unusable(key, cid))
        except (mst.MstError, BlockMissingError) as error:
            raise self._placed(error) from None
        self._is_walked = True

    def records(self) -> Iterator[Record]:
        """Every record, in key order, decoded.

        Raises:
            MstError, RepoError: the tree is not canonical, a block is missing, or a record is malformed; or so many
                keys share large blocks that reading them would take many times as long as the file is large.
        """
        left_bytes = _FREE_READING_BYTES + _MAX_SHARING * self.size_bytes
        for key, cid in self.keys():
            left_bytes -= self._car.length(cid)
            if left_bytes < 0:
                raise RepoError(
                    f"the keys up to {key} name the same large blocks again and again", offset=self._car.offset(cid)
                )
            yield Record(key, cid, self.value(key, cid))

    def value(self, key: str, cid: bytes) -> dict[str, Any]:
        """The decoded record with this CID; `key` is for messages. Raises RepoError, with the block's place."""
        value = self._parsed(cid, dag_cbor.decode)
        if type(value) is not dict:
            raise RepoError(f"the record {key} is not a map", offset=self._car.offset(cid))
        return value

    def check_record(self, key: str, cid: bytes) -> None:
        """`value` without the value; almost free if the file was opened `with_records`. Raises RepoError.

        No block is decoded twice, however many keys name it.
        """
        if self._car.is_sound_record(cid):
            return
        if self._car.is_faulty_record(cid):
            raise RepoError(
                f"the record {key} is the block {Cid(cid)}, which is no record", offset=self._car.offset(cid)
            )
        try:
            self.value(key, cid)
        except RepoError:
            self._car.note_record(cid, is_sound=False)
            raise
        self._car.note_record(cid, is_sound=True)

    def block(self, cid: bytes) -> bytes:
        """A block's data. Raises as `IndexedCar.block`."""
        return self._car.block(cid)

    def orphan_count(self) -> int:
        """Distinct blocks that the commit does not lead to. Walks the tree if nobody has yet. Raises as `keys`."""
        if not self._is_walked:
            for _ in self.keys():
                pass
        return self.block_count - self._car.reached_count

    def links_to(self, cids: Iterable[bytes]) -> dict[bytes, int]:
        """Where blocks that the tree leads to are linked from: the offset of the commit or of a node, by CID.

        For messages about what is missing; goes through the whole tree, faulty parts of it left out.
        """
        wanted, found = set(cids), dict[bytes, int]()
        if self.commit.data in wanted:
            found[self.commit.data] = self._car.offset(self.root)
        pending, seen = [self.commit.data], set[bytes]()
        while pending and len(found) < len(wanted):
            cid = pending.pop()
            if cid in seen or cid not in self._car:
                continue
            seen.add(cid)
            try:
                left, entries = mst.parse_node(self._car.block(cid))
            except IntegrityError:
                continue
            subtrees = [link for link in (left, *(entry.right for entry in entries)) if link is not None]
            for link in wanted.intersection([*subtrees, *(entry.value for entry in entries)]):
                found.setdefault(link, self._car.offset(cid))
            pending += subtrees
        return found

    def _node(self, cid: bytes) -> bytes:
        self._car.reach(cid)
        return self._car.block(cid)

    def _parsed(self, cid: bytes, parse: Callable[[bytes], _T]) -> _T:
        data = self._car.block(cid)
        try:
            return parse(data)
        except IntegrityError as error:
            raise RepoError(
                f"the block {Cid(cid)} is {error.detail}", code=error.code, offset=self._car.offset(cid)
            ) from None

    def _unusable(self, key: str, cid: Cid) -> RepoError:
        """Why a key of the tree is no record."""
        if cid not in self._car:
            return BlockMissingError(f"the record {key} is missing from the file: {cid}", cid=cid)
        return RepoError(f"not a collection and record key: {key[:120]!r}", offset=self._car.offset(cid))

    def _placing(self, on_error: OnError | None) -> OnError | None:
        if on_error is None:
            return None
        # what is missing is placed by whoever collects it: finding one place costs as much as finding them all
        return lambda error: on_error(error if isinstance(error, BlockMissingError) else self._placed(error))

    def _placed(self, error: IntegrityError) -> IntegrityError:
        """An error of the tree, told with its place in the file."""
        if isinstance(error, mst.MstError) and error.node in self._car:
            return mst.MstError(error.detail, code=error.code, offset=self._car.offset(error.node), node=error.node)
        if isinstance(error, BlockMissingError):
            return BlockMissingError(error.detail, cid=error.cid, offset=self.links_to([error.cid]).get(error.cid))
        return error


def open_repo(
    path: Path, *, with_records: bool = False, on_error: OnError | None = None, on_read: OnRead | None = None
) -> RepoFile:
    """Stream the file once and check every block against its CID; the arguments are those of `IndexedCar`.

    Raises:
        CarError, VarintError: the file is not a whole CAR with one root.
        RepoError: the root is missing, or is no commit.
    """
    car = IndexedCar(path, with_records=with_records, on_error=on_error, on_read=on_read)
    try:
        return RepoFile(car)
    except BaseException:
        car.close()
        raise
