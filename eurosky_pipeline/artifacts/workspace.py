"""Where a migration's files are: scratch while it runs, artifacts for what outlives a run.

    $EUROSKY_HOME/work/<token>/         account.car · account.converted.car · blobs/<cid>
    $EUROSKY_HOME/artifacts/<token>/    the CARs, blob_manifest.csv, reconciliation_report.csv

On one file system an artifact is a second name of the scratch file, and takes no second place.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.migration import is_token

ACCOUNT_CAR = "account.car"
CONVERTED_CAR = "account.converted.car"
MANIFEST_CSV = "blob_manifest.csv"
REPORT_CSV = "reconciliation_report.csv"
PARTIAL_SUFFIX = ".partial"
RESERVE_BYTES = 32 * 1024 * 1024
"""Left free on the disk: the registry has to be able to write down what became of the rest."""
_DISK_HINT = "make room or mend the disk, then run the migration again; nothing that arrived is lost"


class Workspace:
    """The folders of one migration. The token is checked, since it becomes a path."""

    def __init__(self, home: Path, artifacts: Path, token: str) -> None:
        if not is_token(token):
            raise SettingsError(
                f"{token[:40]!r} is not a migration's token",
                code="unknown_token",
                hint="`eurosky migrations list` shows them all",
            )
        self._scratch = home / "work" / token
        self._artifacts = artifacts / token
        for folder in (self._scratch, self._artifacts):
            with disk_errors_named(folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def scratch(self, name: str) -> Path:
        """The scratch path for a file of this name, whether it is there or not."""
        return self._scratch / name

    @property
    def blobs(self) -> Path:
        return self._scratch / "blobs"

    def clear_leftovers(self) -> None:
        """Remove what a killed run left: blobs and half-written files."""
        shutil.rmtree(self.blobs, ignore_errors=True)
        for path in self._scratch.glob(f"*{PARTIAL_SUFFIX}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def blob_folder(self) -> Iterator[Path]:
        """An empty folder for blobs under way, gone when the block ends, however it ends."""
        shutil.rmtree(self.blobs, ignore_errors=True)
        self.blobs.mkdir()
        try:
            yield self.blobs
        finally:
            shutil.rmtree(self.blobs, ignore_errors=True)

    def keep(self, name: str) -> Path:
        """Put a finished scratch file into the artifact store, in place of an older one; returns its path there."""
        kept = self._artifacts / name
        with disk_errors_named(kept):
            link_or_copy(self.scratch(name), kept)
        return kept

    def discard(self, *names: str) -> None:
        """Remove files, in scratch and in the store: what they were made from has changed."""
        for name in names:
            self.scratch(name).unlink(missing_ok=True)
            (self._artifacts / name).unlink(missing_ok=True)

    def fetch(self, name: str) -> Path:
        """The scratch file of this name, brought back from the artifact store if scratch has been cleared.

        Raises: FatalError if neither place has it: the asset that makes it has not run yet.
        """
        path, kept = self.scratch(name), self._artifacts / name
        if not path.exists():
            if not kept.exists():
                raise FatalError(
                    f"{name} is not there yet",
                    code="input_missing",
                    hint="materialize the assets before this one first",
                )
            with disk_errors_named(path):
                link_or_copy(kept, path)
        return path


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
