"""A file that takes another one's place at once, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX


class Replacement:
    """A new file beside `target`, under a name that nobody else has; gone when the block ends without `keep`.

    Attributes:
        stream: to write to.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = target.with_name(f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
        self._is_kept = False

    def __enter__(self) -> Replacement:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.stream: BinaryIO = os.fdopen(os.open(self._partial, flags, 0o666), "wb")
        except FileExistsError:
            raise
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(OSError):  # of a full disk, which has been told by a write before
                self.stream.close()
        finally:
            if not self._is_kept:
                self._partial.unlink(missing_ok=True)

    def keep(self) -> None:
        """Flush it to the disk, and put it in the target's place, with the mode of what was there. Raises OSError."""
        self.stream.flush()
        with suppress(FileNotFoundError):
            os.fchmod(self.stream.fileno(), self._target.stat().st_mode & 0o777)
        os.fsync(self.stream.fileno())
        self._partial.replace(self._target)
        self._is_kept = True
