"""A repository's CAR rewritten by record transforms: a patch of what has to change, and a copy of all the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from eurosky_pipeline.artifacts.workspace import disk_errors_named
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, sign
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, OnRead, RepoError
from eurosky_pipeline.atproto.mst import walk
from eurosky_pipeline.atproto.syntax import next_tid
from eurosky_pipeline.convert.fold import Fold
from eurosky_pipeline.convert.output import ConvertedFile
from eurosky_pipeline.convert.reach import DIGEST_START, Reach, affected_records, count_records, reach
from eurosky_pipeline.convert.scan import ScannedCar
from eurosky_pipeline.convert.tree import patch_tree
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.record_transforms import (
    RecordTransform,
    TransformContext,
    TransformFailedError,
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

    Args:
        target: replaced at the very end, and only if something changed; may be `source`.
        transforms: new ones, in the order in which they see a record; at least one.
        blob_sizes: as in `TransformContext`.
        report: takes a line for people, on what is going on.
        on_read: is told of bytes as `source` is read for the first time.

    Raises:
        CarError, VarintError, MstError, RepoError: the source is not a whole and canonical repository.
        TransformFailedError: a transform failed; names it, and the record.
        FatalError: the disk is full.
        EuroskyError: what a transform raised, on purpose.
    """
    names = ", ".join(f"{transform.name} {transform.version}" for transform in transforms)
    report(f"scanning the CAR for records to convert ({names})")
    with closing(ScannedCar(source, [(transform.needle, transform.scan) for transform in transforms], on_read)) as car:
        if not car.candidates:
            records = count_records(car)
            report(f"extracted {records} records, and none of them has to be looked at")
            return _unchanged(car, records, transforms)
        affected = affected_records(car)
        reached = reach(car, affected)
        report(f"extracted {reached.record_count} records")
        fold = Fold(
            car.commit.did,
            reached.keys_of,
            lambda cid: car.block_at(affected[cid]),
            car.candidates,
            transforms,
            size_bytes=car.size_bytes,
        )
        fold.survey()
        _prepare(transforms, TransformContext(car.commit.did, unknown_size, blob_sizes, report))
        return _write(car, target, transforms, fold, reached, signing_key, report)


def _prepare(transforms: Sequence[RecordTransform], context: TransformContext) -> None:
    for transform in transforms:
        try:
            transform.prepare(context)
        except EuroskyError:
            raise
        except Exception as error:
            raise TransformFailedError(
                f"the record transform {transform.name} {transform.version} could not prepare for the repository of "
                f"{context.did}: {type(error).__name__}"
            ) from error


def _write(
    car: ScannedCar,
    target: Path,
    transforms: Sequence[RecordTransform],
    fold: Fold,
    reached: Reach,
    signing_key: SigningKey | None,
    report: Callable[[str], None],
) -> Conversion:
    commit = _successor(car.commit, reached.newest_rkey)
    with disk_errors_named(target), ConvertedFile(target, commit) as file:
        changed = fold.run(file.put)
        if not changed:
            report("completed: nothing could be converted, and the repository stays as it is")
            return _unchanged(car, reached.record_count, transforms)
        moved = patch_tree(reached.path_nodes, lambda cid: car.block_at(car.nodes[cid]), changed, file.put)
        commit = replace(commit, data=moved[car.commit.data])
        if signing_key is not None:
            commit = sign(commit, signing_key)
        replaced = _leave_out(reached, fold, moved, file)
        copied = file.copy(car.stream(), reached.wanted)
        car.check_unchanged()
        if reached.wanted:
            raise _missing(car, reached.wanted)
        root = file.finish(commit)
    report(f"converted {len(changed)} records, and {fold.strong_refs_rewritten} strong references to them")
    report("completed")
    return Conversion(
        did=commit.did,
        records=reached.record_count,
        records_changed=len(changed),
        strong_refs_rewritten=fold.strong_refs_rewritten,
        root=root,
        rev=commit.rev,
        signature=Signature.VOID if signing_key is None else Signature.SIGNED,
        is_changed=True,
        transforms=_summary(transforms),
        nodes_rewritten=len(moved),
        blocks_dropped=car.block_count - 1 - copied - replaced,
        size_bytes=file.size_bytes,
    )


def _leave_out(reached: Reach, fold: Fold, moved: Mapping[bytes, Cid], file: ConvertedFile) -> int:
    """Take from what is wanted of the old file what is replaced, or has been written anew; how many blocks that are."""
    before = len(reached.wanted)
    replaced = [cid for cid, keys in reached.keys_of.items() if all(fold.new[key] != cid for key in keys)]
    reached.wanted.difference_update(cid[DIGEST_START:] for cid in (*replaced, *moved))
    reached.wanted -= file.put_cids
    return before - len(reached.wanted)


def _successor(commit: Commit, newest_rkey: str) -> Commit:
    """The commit of a converted repository, its tree still the old one, signed by nobody. Raises RepoError."""
    try:
        rev = next_tid(commit.rev or newest_rkey or _FIRST_TID)
    except ValueError:
        raise RepoError(f"the repository's rev, {commit.rev or newest_rkey}, is the last that there can be") from None
    return Commit(commit.did, 3, commit.data, rev, None, VOID_SIGNATURE)


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
    return tuple((transform.name, transform.version, dict(transform.counts())) for transform in transforms)


def _missing(car: ScannedCar, digests: set[bytes]) -> BlockMissingError:
    """Which record is not in the file, the first of them by its key."""
    for key, cid in walk(car.commit.data, lambda cid: car.block_at(car.nodes[cid])):
        if cid[DIGEST_START:] in digests:
            return BlockMissingError(f"the record {key.decode('ascii')} is missing from the file: {cid}", cid=cid)
    raise AssertionError("every node was found")
