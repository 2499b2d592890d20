"""The disk under scratch and artifacts: one file in another's place, room that is left, faults told in one way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eurosky_pipeline.errors import FatalError

PARTIAL_SUFFIX = ".partial"
RESERVE_BYTES = 32 * 1024 * 1024
"""Left free on the disk: the registry has to be able to write down what became of the rest."""
_DISK_HINT = "make room or mend the disk, then run the migration again; nothing that arrived is lost"


def link_or_copy(origin: Path, target: Path) -> None:
    """Give `target` the bytes of `origin`, atomically: by a hard link, or by a copy where there can be none."""
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    partial.unlink(missing_ok=True)
    try:
        os.link(origin, partial)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(origin, partial)
    partial.replace(target)
    partial.unlink(missing_ok=True)  # replacing a name by another name of the same file leaves both


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_room(folder: Path, size_bytes: int) -> None:
    """Raises FatalError where a file of this size would leave the folder's disk with next to nothing."""
    with disk_errors_named(folder):
        free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes + RESERVE_BYTES:
        raise FatalError(
            f"{folder} has {free_bytes} bytes left, which is too little for a file of {size_bytes}",
            code="disk_full",
            hint=_DISK_HINT,
        )


@contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Tell a full or broken disk as one clear, fatal error, and not as a fault of the host that was being read."""
    try:
        yield
    except OSError as error:
        raise FatalError(
            f"cannot write {path}: {error.strerror or error}",
            code="disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk",
            hint=_DISK_HINT,
        ) from None
