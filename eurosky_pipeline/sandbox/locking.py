"""A lock between processes, so that two commands never install, start or stop the same thing at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from eurosky_pipeline.errors import FatalError, SettingsError


def file_lock(
    path: Path, *, timeout_s: float, report: Callable[[str], None], busy: str
) -> AbstractContextManager[object]:
    """Take the lock on `path`, whose folder must exist; released at the end of the `with`, or when the process dies.

    Args:
        timeout_s: how long to wait for somebody else to let go.
        report: is told `busy`, once, if there is a wait.

    Raises:
        SettingsError: the `filelock` package is missing.
        FatalError: somebody else held it all that time (`code="sandbox_busy"`).
    """
    try:
        from filelock import FileLock, Timeout
    except ModuleNotFoundError:
        raise SettingsError(
            "the sandbox needs the Python package filelock", hint="pip install 'eurosky_pipeline[sandbox]'"
        ) from None
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        report(f"{busy}; waiting for it")
    try:
        return lock.acquire(timeout=timeout_s)
    except Timeout:
        raise FatalError(
            f"{busy}, and was not done after {timeout_s:.0f} s", code="sandbox_busy", hint=f"see who holds {path}"
        ) from None
