"""What a store of artifacts can do; the local folder and S3 do it each in their way.

Every store keeps a file's SHA-256 with it, and compares when the file is fetched back: what was damaged or cut short
meanwhile is never taken for the file. A name stands for the older file or for the newer one, and for nothing in
between, whenever the program is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eurosky_pipeline.errors import FatalError, IntegrityError


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store: `uri` is its path, or its `s3://` address; `sha256` (hex) is empty where nobody wrote it."""

    uri: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Removed:
    """What went: names below the migration's folders, and the bytes that are free now."""

    names: tuple[str, ...] = ()
    size_bytes: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed((*self.names, *other.names), self.size_bytes + other.size_bytes)


class ArtifactStore(Protocol):
    """The artifacts of one migration. Names are plain file names, and the program's own.

    All methods raise FatalError `disk_full` or `disk` for a local disk that is full or broken, and
    `artifacts_unavailable` for a store that cannot be had: as a TransientError where a later try may help.
    """

    def uri(self, name: str) -> str:
        """Where the file is, or would be, as people are told."""
        ...

    def put(self, local: Path, name: str) -> Stored:
        """Keep a finished file, in place of an older one of this name."""
        ...

    def get(self, name: str, local: Path) -> None:
        """Bring a file back to `local`, atomically.

        Raises: IntegrityError if it is not the file that was kept; FatalError `input_missing` if there is none.
        """
        ...

    def describe(self, name: str) -> Stored | None:
        """What is kept under this name; None if nothing is."""
        ...

    def delete(self, *names: str) -> None:
        """Remove files; those that are not there, too."""
        ...

    def delete_all(self) -> Removed:
        """Remove everything of the migration, half-written files too, and tell what there was."""
        ...

    def clear_leftovers(self) -> None:
        """Remove what a killed run has half written."""
        ...


def damaged(uri: str, fault: str) -> IntegrityError:
    """The error for an artifact that is not what was kept."""
    return IntegrityError(
        f"{uri} {fault}",
        code="artifact_damaged",
        hint="it is not used; run the whole migration again, which makes it anew, and look at the store",
    )


def missing(name: str) -> FatalError:
    """The error for an artifact that nobody has made yet."""
    return FatalError(
        f"{name} is not there yet", code="input_missing", hint="materialize the assets before this one first"
    )
