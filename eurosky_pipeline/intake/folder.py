"""The folder that lists are put into: whether it is safe, what lies in it, and taking a list out of everybody's reach.

    folder/accounts.csv                      put there by anybody who may
    folder/taking/accounts.<when>.csv        ours now, row by row; with what has become of it so far beside it
    folder/taken/accounts.<when>.csv.result.json
    folder/rejected/accounts.<when>.csv      the rows that were not taken, as they were, to be corrected

The three folders below are this user's alone. Everything is opened by name within a folder that is open, without
following links, so that whoever may write to the folder cannot have another file read, moved or deleted.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from eurosky_pipeline.errors import FatalError

TAKING, TAKEN, REJECTED = "taking", "taken", "rejected"
SUFFIXES: Final = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
QUIET_S: Final = 5.0
"""A list that nobody has changed for so long is taken to be whole."""
CUT_QUIET_S: Final = 60.0
"""The same for one whose last line has no end: it may be half a password that ends it."""
MAX_ENTRIES: Final = 10_000
_UNFINISHED: Final = frozenset({".partial", ".tmp", ".part", ".crdownload"})
_MAX_NAME_BYTES: Final = 160
_NOT_FOLLOWED: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MOMENT: Final = "%Y%m%dT%H%M%SZ"
_STAMP: Final = re.compile(r"\.(\d{8}T\d{6}Z)-[0-9a-f]{6}(?=\.[A-Za-z]+\Z)", re.ASCII)
_HINT: Final = "docs/operations.md, “A folder for lists”, says how it has to be set up"


class FolderError(FatalError):
    """The folder for lists is not there, or not one that passwords may be put into."""

    default_code = "intake_folder"


@dataclass(frozen=True, slots=True)
class Left:
    """A file that is not taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder and those below, each as an open descriptor; for as long as `opened` has them open."""

    path: Path
    root: int
    taking: int
    taken: int
    rejected: int
    now_s: float
    """By the clock of the disk, which is another machine's where the folder is."""


def faults_of(path: Path) -> tuple[list[str], list[str]]:
    """What forbids using the folder, and what somebody should know. Raises: OSError if there is none."""
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        return [f"{path} is no folder"], []
    worries = []
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return [f"everybody may change what others put into {path} ({found.st_mode & 0o7777:o})"], []
    if found.st_mode & stat.S_IWOTH:
        worries.append(f"everybody on this machine may put lists into {path}")
    elif found.st_mode & stat.S_IWGRP:
        worries.append(f"the group of {path} may put lists into it")
    if found.st_uid not in {os.geteuid(), 0}:
        worries.append(f"{path} belongs to another user")
    return [], worries


@dataclass(frozen=True, slots=True)
class Counts:
    """Lists in the folder, by where they are."""

    waiting: int
    taking: int
    rejected: int


def count_lists(path: Path) -> Counts:
    """By their names; nothing is opened or made. Raises: OSError if there is no folder."""

    def count(folder: Path) -> int:
        with os.scandir(folder) as entries:
            return sum(is_list(entry.name) for entry in islice(entries, MAX_ENTRIES))

    below = [count(path / name) if (path / name).is_dir() else 0 for name in (TAKING, REJECTED)]
    return Counts(count(path), *below)


@contextmanager
def opened(path: Path) -> Iterator[Folder | None]:
    """The folder, its own folders made where they lack; None where another process is at it just now.

    Raises: FolderError.
    """
    descriptors: list[int] = []
    try:
        try:
            faults, _ = faults_of(path)
            if faults:
                raise FolderError(faults[0], hint=_HINT)
            root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            descriptors.append(root)
            for name in (TAKING, TAKEN, REJECTED):
                descriptors.append(_own_folder(path, root, name))  # noqa: PERF401 - closed also if the next fails
            lock = _locked(descriptors[1])
        except OSError as error:
            raise FolderError(
                f"the folder for lists, {path}, cannot be used: {error.strerror or type(error).__name__}", hint=_HINT
            ) from None
        if lock is None:
            yield None
            return
        descriptors.append(lock)
        os.utime(lock)
        root, taking, taken, rejected = descriptors[:4]
        yield Folder(path, root, taking, taken, rejected, os.fstat(lock).st_mtime)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def waiting(folder: int, now_s: float) -> Iterator[str | Left]:
    """Lists that are whole, by name, and what has a list's name and is left for a reason. One that is still being
    written, and what is no list by its name, are neither."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in islice(entries, MAX_ENTRIES))
    for name in names:
        if not is_list(name):
            continue
        if len(os.fsencode(name)) > _MAX_NAME_BYTES or not name.isprintable():
            yield Left(name, f"its name is longer than {_MAX_NAME_BYTES} bytes, or not printable")
            continue
        try:
            found = _judged(folder, name, now_s)
        except FileNotFoundError:  # another one has taken it
            continue
        except OSError as error:
            found = f"it cannot be read: {error.strerror or type(error).__name__}"
        if found is None:
            yield name
        elif found:
            yield Left(name, found)


def is_list(name: str) -> bool:
    """Whether a file of this name is looked at."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    return bool(suffixes) and suffixes[-1] in SUFFIXES and not name.startswith(".") and not _UNFINISHED & set(suffixes)


def claim(folder: Folder, name: str) -> str:
    """Take a list out of the folder, under a name that no other has; that name. Raises: OSError."""
    path = Path(called(name))  # one that comes back has a moment in its name
    moment = datetime.now(UTC).strftime(_MOMENT)
    claimed = f"{path.stem}.{moment}-{secrets.token_hex(3)}{path.suffix}"
    os.rename(name, claimed, src_dir_fd=folder.root, dst_dir_fd=folder.taking)
    with suppress(OSError):  # another user's: the folder that it is in now is closed to others
        descriptor = open_file(folder.taking, claimed)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    return claimed


def claimed_lists(folder: Folder) -> list[str]:
    """The lists that have been taken out and not ended, the oldest first."""
    found = [name for name in os.listdir(folder.taking) if is_list(name)]  # noqa: PTH208 - a descriptor
    return sorted(found, key=lambda name: (moment_of(name), name))


def called(claimed: str) -> str:
    """What a list was called in the folder."""
    return _STAMP.sub("", claimed, count=1)


def moment_of(claimed: str) -> str:
    """When it was taken out of the folder, ISO 8601; empty if its name does not say."""
    found = _STAMP.search(claimed)
    return "" if found is None else datetime.strptime(found[1], _MOMENT).replace(tzinfo=UTC).isoformat()


def open_file(folder: int, name: str) -> int:
    """A regular file of this folder for reading, with one name only. Raises: OSError."""
    descriptor = os.open(name, os.O_RDONLY | _NOT_FOLLOWED, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(0, "it is no plain file, or has a second name")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_own(folder: int, name: str, flags: int) -> int:
    """A file of ours, made with mode 0600 where `flags` say so. Raises: OSError."""
    return os.open(name, flags | _NOT_FOLLOWED, 0o600, dir_fd=folder)


def replace_file(folder: int, name: str, content: bytes) -> None:
    """Atomically, and on the disk when this returns. Raises: OSError."""
    partial = f".{name}.tmp"
    with os.fdopen(open_own(folder, partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _judged(folder: int, name: str, now_s: float) -> str | None:
    """None for a list that is whole, empty for one that is not yet, else why it is left. Raises: OSError."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return "it is no plain file"
    if found.st_nlink > 1:
        return "the same file has a second name, by which it could be changed"
    if found.st_size == 0:
        return ""
    quiet_s = now_s - found.st_ctime  # of the last change, whatever a copy says of its age
    if quiet_s < QUIET_S:
        return ""
    descriptor = open_file(folder, name)
    try:
        is_cut = found.st_size > 0 and os.pread(descriptor, 1, found.st_size - 1) != b"\n"
    finally:
        os.close(descriptor)
    return "" if is_cut and quiet_s < CUT_QUIET_S else None


def _own_folder(path: Path, root: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=root)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except OSError:
        raise FolderError(f"{path / name} is no folder of this user's", hint=_HINT) from None
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise FolderError(
            f"{path / name} belongs to another user, or is open to others ({found.st_mode & 0o777:o}): passwords "
            "are kept in it",
            hint=f"chmod 700 it, or move it away: it is made anew. {_HINT}",
        )
    return descriptor


def _locked(folder: int) -> int | None:
    """The lock, held until it is closed; None if another has it.

    On a shared disk without locks both go on: then each row is offered twice, and registered once.
    """
    descriptor = open_own(folder, ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass
    return descriptor
