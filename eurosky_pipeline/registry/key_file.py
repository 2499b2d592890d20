"""The vault's keys in a file of the embedded default: newest first, one a line, for its owner alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eurosky_pipeline.errors import SettingsError

KEY_FILE_NAME = "vault.key"
_MAX_BYTES = 64 * 1024


class KeyFile:
    """The keys as they are in the file at this moment: another process may rotate them while this one works.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, ...], list[bytes]] = ((), [])

    def keys(self) -> list[bytes]:
        """Newest first; whether they are keys is not looked at.

        Raises: SettingsError for a file that is gone, or that others can read.
        """
        try:
            found = self.path.stat()
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
            if version == self._read[0]:
                return self._read[1]
            if found.st_mode & 0o077:
                raise SettingsError(
                    f"the vault key file {self.path} can be read by others",
                    code="vault_key_exposed",
                    hint=f"chmod 600 {self.path}, and consider its passwords known",
                )
            with self.path.open("rb") as file:
                keys = file.read(_MAX_BYTES).split()
        except FileNotFoundError:
            raise SettingsError(
                f"the vault key file {self.path} is gone, and stored passwords were sealed with it",
                code="vault_key_lost",
                hint="bring it back from a backup; if there is none, `eurosky vault rotate --drop-unreadable` "
                "deletes those passwords, and `eurosky migrations retry` takes them anew",
            ) from None
        self._read = version, keys
        return keys

    def make(self, key: str) -> None:
        """Make the file whole or not at all; of two processes that come at once, one makes it and both use it."""
        self._write([key.encode()], is_first=True)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Put these keys in the place of those that are there, at once, and durably."""
        self._write(keys, is_first=False)

    def _write(self, keys: Sequence[bytes], *, is_first: bool) -> None:
        target = self.path.resolve()  # who has put a link there keeps the file that it leads to
        folder = target.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, scratch = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\n".join(keys) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if not is_first:
                Path(scratch).replace(target)
            else:
                with suppress(FileExistsError):
                    os.link(scratch, target)
            _sync_folder(folder)
        finally:
            Path(scratch).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """So that the file's new name outlives a loss of power: rows sealed with its key may be written next."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
