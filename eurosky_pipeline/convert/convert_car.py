"""A repository's CAR rewritten by record transforms: a patch of what has to change, and a copy of all the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from eurosky_pipeline.artifacts.disk import disk_errors_named
from eurosky_pipeline.atproto.car import Piece
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, sign
from eurosky_pipeline.atproto.indexed_car import OnRead, RepoError
from eurosky_pipeline.atproto.syntax import next_tid
from eurosky_pipeline.convert.fold import Fold, transform_failure
from eurosky_pipeline.convert.output import ConvertedFile
from eurosky_pipeline.convert.paths import find_paths
from eurosky_pipeline.convert.reach import Reach, affected_records
from eurosky_pipeline.convert.scan import ScannedCar, Scanner
from eurosky_pipeline.convert.tree import patch_tree
from eurosky_pipeline.convert.walk import count_by_walk, walk
from eurosky_pipeline.plugins.foreign import let_interruption_through
from eurosky_pipeline.plugins.record_transforms import (
    RecordTransform,
    TransformContext,
    UnknownSize,
)

if TYPE_CHECKING:
    from eurosky_pipeline.atproto.keys import SigningKey

_FIRST_TID = "2" * 13


class Signature(StrEnum):
    """Whose signature the commit bears."""

    KEPT = "kept"
    """The original one: nothing was changed."""
    VOID = "void"
    """Nobody's: 64 zero bytes. Servers that do not check it take the repository; the account's next write signs it."""
    SIGNED = "signed"
    """That of the key that was given."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion came to.

    Attributes:
        records: all keys of the repository; `records_changed` those with another CID than before.
        strong_refs_rewritten: references within the repository that were given a record's new CID.
        root, rev: of the repository as it is now; the old ones if nothing changed.
        is_changed: if not, no file was written, and the original is the result.
        transforms: name, version and counts of each, in their order.
        nodes_rewritten: nodes of the tree.
        blocks_dropped: blocks that the tree does not lead to, and further copies of others.
        size_bytes: of the file that is the result.
    """

    did: str
    records: int
    records_changed: int
    strong_refs_rewritten: int
    root: Cid
    rev: str
    signature: Signature
    is_changed: bool
    transforms: tuple[tuple[str, str, Mapping[str, int]], ...]
    nodes_rewritten: int
    blocks_dropped: int
    size_bytes: int

    def count(self, name: str) -> int:
        """One number of all transforms that count it, such as `refs_converted`."""
        return sum(counts.get(name, 0) for _, _, counts in self.transforms)


def convert_car(
    source: Path,
    target: Path,
    transforms: Sequence[RecordTransform],
    *,
    unknown_size: UnknownSize,
    blob_sizes: Callable[[Collection[Cid]], Mapping[Cid, int]],
    signing_key: SigningKey | None = None,
    report: Callable[[str], None] = lambda _: None,
    on_read: OnRead | None = None,
) -> Conversion:
    """Take a repository's records through the transforms, and write the repository that results.

    Keys stay as they are. Every strong reference to a changed record of the same repository gets its new CID, which
    changes the record that holds it in turn. The result has one commit of version 3 and nothing that its tree does not
    lead to, and is decided by the arguments to the byte.

    What is not touched is not judged: every block is hashed, and every node and record is found, but a record that
    stays is not decoded, and of a node that leads to none that may change the form alone is looked at (where none at
    all may change, not even that). `verify_car` looks at everything.

    Args:
        target: replaced at the very end, and only if something changed; may be `source`.
        transforms: new ones, in the order in which they see a record; at least one.
        blob_sizes: as in `TransformContext`.
        report: takes a line for people, on what is going on.
        on_read: is told of bytes as `source` is read for the first time.

    Raises:
        CarError, VarintError, MstError, RepoError: the source is not a whole repository, or what has to change is not
            well-formed.
        TransformFailedError: a transform failed; names it, and the record.
        FatalError: the disk is full.
        EuroskyError: what a transform raised, on purpose.
    """
    names = ", ".join(f"{transform.name} {transform.version}" for transform in transforms)
    report(f"scanning the CAR for records to convert ({names})")
    with closing(ScannedCar(source, [_scanner(transform) for transform in transforms], on_read)) as car:
        if not car.candidates:
            records = count_by_walk(car) if car.record_count is None else car.record_count
            car.check_unchanged()
            report(f"extracted {records} records, and none of them has to be looked at")
            return _unchanged(car, records, transforms)
        affected = affected_records(car)
        reached = find_paths(car, affected) or walk(car, affected)
        report(f"extracted {reached.record_count} records")
        work = _Work(car, affected, reached, transforms, target, signing_key)
        work.fold.survey()
        _prepare(transforms, TransformContext(car.commit.did, unknown_size, blob_sizes, report))
        found = work.write()
        if found.is_changed:
            rewritten = found.strong_refs_rewritten
            report(f"converted {found.records_changed} records, with {rewritten} strong references made right")
        else:
            report("nothing could be converted")
        report("completed")
        return found


class _Work:
    """Everything that the writing of a converted repository needs."""

    def __init__(
        self,
        car: ScannedCar,
        affected: Mapping[bytes, int],
        reached: Reach,
        transforms: Sequence[RecordTransform],
        target: Path,
        signing_key: SigningKey | None,
    ) -> None:
        self._car = car
        self._affected = affected
        self._reached = reached
        self._transforms = transforms
        self._target = target
        self._signing_key = signing_key
        self.fold = Fold(
            car.commit.did,
            reached.keys_of,
            lambda cid: car.block_at(affected[cid]),
            car.candidates,
            transforms,
            size_bytes=car.size_bytes,
        )

    def write(self) -> Conversion:
        """Settle the records, and write the file if that changed any."""
        car, target = self._car, self._target
        with disk_errors_named(target), ConvertedFile(target, _unsigned(car.commit, _FIRST_TID)) as file:
            changed = self.fold.run(file.put)
            if not changed:
                car.check_unchanged()
                return _unchanged(car, self._reached.record_count, self._transforms)
            places = self._reached.node_places
            moved = patch_tree(self._reached.path_nodes, lambda cid: car.block_at(places[cid]), changed, file.put)
            commit = _unsigned(car.commit, _rev_after(car.commit.rev or self._reached.newest_rkey))
            commit = replace(commit, data=moved[car.commit.data])
            if self._signing_key is not None:
                commit = sign(commit, self._signing_key)
            dropped = self._reached.spare
            gaps = map(car.extent, dropped.union(self._replaced(moved, file.put_cids)))
            file.copy(car.read, car.first_block_offset, car.size_bytes, gaps)
            car.check_unchanged()
            transforms = _summary(self._transforms)
            root = file.finish(commit)
        return Conversion(
            did=commit.did,
            records=self._reached.record_count,
            records_changed=len(changed),
            strong_refs_rewritten=self.fold.strong_refs_rewritten,
            root=root,
            rev=commit.rev,
            signature=Signature.VOID if self._signing_key is None else Signature.SIGNED,
            is_changed=True,
            transforms=transforms,
            nodes_rewritten=len(moved),
            blocks_dropped=len(dropped) - 1,  # the old commit
            size_bytes=file.size_bytes,
        )

    def _replaced(self, moved: Mapping[bytes, Cid], put_cids: Set[bytes]) -> Iterator[int]:
        """The places of old blocks of which nothing needs the old form any more, and of those written anew.

        A block can be a node of the tree and a record at once; it goes only if it is needed as neither.
        """
        reached, new = self._reached, self.fold.new
        old_records = {cid for cid, keys in reached.keys_of.items() if all(new[key] != cid for key in keys)}
        gone = {cid for cid in old_records if cid in moved or cid not in reached.tree_nodes}
        if reached.is_every_record_single:
            yield from (self._affected[cid] for cid in gone)
        else:
            yield from self._car.places_of(gone)
        for cid in moved:
            if cid not in reached.nodes_as_records or cid in old_records:
                yield reached.node_places[cid]
        if not {hash(cid) for cid in put_cids}.isdisjoint(reached.hashes):
            yield from self._car.places_of(put_cids)


def _scanner(transform: RecordTransform) -> Scanner:
    needle, wants = transform.needle, transform.scan

    def scan(piece: Piece) -> list[int]:
        numbers = piece.holding(needle) if needle else range(len(piece.datas))
        try:
            return [number for number in numbers if wants(piece.datas[number])]
        except BaseException as error:
            let_interruption_through(error)
            raise transform_failure(transform, "while it looked through the blocks", error) from error

    return scan


def _prepare(transforms: Sequence[RecordTransform], context: TransformContext) -> None:
    for transform in transforms:
        try:
            transform.prepare(context)
        except BaseException as error:
            let_interruption_through(error)
            raise transform_failure(transform, f"to prepare for {context.did}", error) from error


def _unsigned(commit: Commit, rev: str) -> Commit:
    """A commit to the same tree, as a converted repository has it, signed by nobody."""
    return Commit(commit.did, 3, commit.data, rev, None, VOID_SIGNATURE)


def _rev_after(tid: str) -> str:
    """The rev that follows the old one, or the newest record key; the second of all where there is neither."""
    try:
        return next_tid(tid or _FIRST_TID)
    except ValueError:
        raise RepoError(f"the repository's rev, {tid}, is the last that there can be") from None


def _unchanged(car: ScannedCar, records: int, transforms: Sequence[RecordTransform]) -> Conversion:
    return Conversion(
        did=car.commit.did,
        records=records,
        records_changed=0,
        strong_refs_rewritten=0,
        root=car.root,
        rev=car.commit.rev,
        signature=Signature.KEPT,
        is_changed=False,
        transforms=_summary(transforms),
        nodes_rewritten=0,
        blocks_dropped=0,
        size_bytes=car.size_bytes,
    )


def _summary(transforms: Sequence[RecordTransform]) -> tuple[tuple[str, str, Mapping[str, int]], ...]:
    found = []
    for transform in transforms:
        try:
            counts = {str(name): int(count) for name, count in transform.counts().items()}
        except BaseException as error:
            let_interruption_through(error)
            raise transform_failure(transform, "when it was asked for its counts", error) from error
        found.append((transform.name, transform.version, counts))
    return tuple(found)
