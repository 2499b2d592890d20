"""Where a migration's files are: scratch while it runs, artifacts for what outlives a run.

    $EUROSKY_HOME/work/<token>/         account.car · account.converted.car · blobs/<cid>
    $EUROSKY_ARTIFACTS/<token>/         the CARs, blob_manifest.csv, reconciliation_report.csv; a folder, or on S3

Scratch is local in any case; what is in it is the file that is used, and the store is asked where it is not.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX, disk_errors_named
from eurosky_pipeline.artifacts.local_store import remove_folder
from eurosky_pipeline.artifacts.opening import open_store
from eurosky_pipeline.artifacts.store import Removed, Stored
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.migration import is_token
from eurosky_pipeline.settings import S3Location

ACCOUNT_CAR = "account.car"
CONVERTED_CAR = "account.converted.car"
MANIFEST_CSV = "blob_manifest.csv"
REPORT_CSV = "reconciliation_report.csv"


class Workspace:
    """The folders of one migration. The token is checked, since it becomes a path.

    Args:
        home: `EUROSKY_HOME`; scratch is below it.
        artifacts: the folder, or the place on S3, of all migrations' artifacts.
        stop: ends a transfer to or from S3, as a StoppedError.
    """

    def __init__(
        self, home: Path, artifacts: Path | S3Location, token: str, stop: threading.Event | None = None
    ) -> None:
        if not is_token(token):
            raise SettingsError(
                f"{token[:40]!r} is not a migration's token",
                code="unknown_token",
                hint="`eurosky migrations list` shows them all",
            )
        self._scratch = home / "work" / token
        with disk_errors_named(self._scratch):
            self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = open_store(artifacts, token, stop)

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
        self._store.clear_leftovers()

    @contextmanager
    def blob_folder(self) -> Iterator[Path]:
        """An empty folder for blobs under way, gone when the block ends, however it ends."""
        shutil.rmtree(self.blobs, ignore_errors=True)
        self.blobs.mkdir()
        try:
            yield self.blobs
        finally:
            shutil.rmtree(self.blobs, ignore_errors=True)

    def keep(self, name: str) -> Stored:
        """Put a finished scratch file into the artifact store, in place of an older one."""
        return self._store.put(self.scratch(name), name)

    def discard(self, *names: str) -> None:
        """Remove files, in scratch and in the store: what they were made from has changed."""
        for name in names:
            self.scratch(name).unlink(missing_ok=True)
        self._store.delete(*names)

    def fetch(self, name: str) -> Path:
        """The scratch file of this name, brought back from the artifact store if scratch has been cleared.

        Raises:
            FatalError: neither place has it: the asset that makes it has not run yet.
            IntegrityError: the store's is not the one that was kept there.
        """
        path = self.scratch(name)
        if not path.exists():
            self._store.get(name, path)
        return path

    def delete_all(self) -> Removed:
        """Remove everything of this migration, in scratch and in the store, and tell what there was.

        The workspace is of no use after that. The caller sees to it that no run is at work.
        """
        return self._store.delete_all() + remove_folder(self._scratch)
