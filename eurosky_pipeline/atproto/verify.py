"""Is this CAR file a whole and canonical repository? If not, everything that is wrong with it, by name and place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eurosky_pipeline.atproto.commit import verify_signature
from eurosky_pipeline.atproto.indexed_car import OnRead
from eurosky_pipeline.atproto.repo import BlockMissingError, RepoFile, open_repo
from eurosky_pipeline.errors import IntegrityError

if TYPE_CHECKING:
    from eurosky_pipeline.atproto.keys import PublicKey

MAX_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault.

    Attributes:
        kind: the stable code of the error, such as `block_hash` or `block_missing`.
        offset: where in the file it stands, in bytes; of what is missing, where it is linked from. None if the fault
            has no place.
        detail: what is wrong, for people.
    """

    kind: str
    offset: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        did, rev, root: of the commit; None if there is none that can be read.
        is_signature_checked: whether a key was given for it.
        blocks: distinct blocks that hash to their CIDs; `orphan_blocks` of them the commit does not lead to, and
            `duplicate_blocks` are further copies. Neither is a problem.
        records: records that the tree leads to and that decode strictly.
        problems: the first `MAX_PROBLEMS` of `problem_count`.
    """

    did: str | None
    rev: str | None
    root: str | None
    is_signature_checked: bool
    blocks: int
    orphan_blocks: int
    duplicate_blocks: int
    records: int
    problems: tuple[Problem, ...]
    problem_count: int

    @property
    def is_whole(self) -> bool:
        return self.problem_count == 0


class _Problems:
    """Collects faults; the number of those that it keeps is bounded, as a hostile file has millions.

    It keeps none of the errors themselves: each would hold on to the block in which it was found.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Problem, bytes]] = []  # with the CID of what is missing, if that is the fault
        self.count = 0

    def add(self, error: IntegrityError, *, offset: int | None = None) -> None:
        """`offset` is for an error that does not know its place."""
        self.count += 1
        if len(self._kept) < MAX_PROBLEMS:
            missing = error.cid if isinstance(error, BlockMissingError) else b""
            self._kept.append(
                (Problem(error.code, offset if error.offset is None else error.offset, error.detail), missing)
            )

    def missing(self) -> list[bytes]:
        """The CIDs of the blocks that are missing, of the kept ones."""
        return [cid for _, cid in self._kept if cid]

    def told(self, links: dict[bytes, int]) -> tuple[Problem, ...]:
        """The kept ones; `links` are the places from where missing blocks are linked."""
        return tuple(replace(problem, offset=links.get(cid, problem.offset)) for problem, cid in self._kept)


def verify_car(path: Path, *, key: PublicKey | None = None, on_read: OnRead | None = None) -> Verification:
    """Check every block's hash, the commit, the shape of the tree, and every record's encoding.

    Goes on behind a fault wherever that is possible, so that one reading names them all.

    Args:
        key: the commit must be signed by it; without one, the signature is not looked at.
        on_read: is told of bytes as they are read; the walk through the tree comes after that.

    Raises:
        OSError: the file cannot be read.
    """
    problems = _Problems()
    try:
        with open_repo(path, with_records=True, on_error=problems.add, on_read=on_read) as repo:
            records = _count_sound_records(repo, problems)
            if key is not None:
                try:
                    verify_signature(repo.commit, key)
                except IntegrityError as error:
                    problems.add(error, offset=repo.commit_offset)
            missing = problems.missing()
            return Verification(
                did=repo.commit.did,
                rev=repo.commit.rev,
                root=str(repo.root),
                is_signature_checked=key is not None,
                blocks=repo.block_count,
                orphan_blocks=repo.orphan_count(),
                duplicate_blocks=repo.duplicate_count,
                records=records,
                problems=problems.told(repo.links_to(missing) if missing else {}),
                problem_count=problems.count,
            )
    except IntegrityError as error:  # no header, or no commit: there is nothing to walk
        problems.add(error)
        return Verification(
            did=None,
            rev=None,
            root=None,
            is_signature_checked=False,
            blocks=0,
            orphan_blocks=0,
            duplicate_blocks=0,
            records=0,
            problems=problems.told({}),
            problem_count=problems.count,
        )


def _count_sound_records(repo: RepoFile, problems: _Problems) -> int:
    count = 0
    for key, cid in repo.keys(on_error=problems.add):
        try:
            repo.check_record(key, cid)
        except IntegrityError as error:
            problems.add(error)
        else:
            count += 1
    return count
