"""Who the rows of a list are about, asked of the network: several at a time, each within its own bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.identity.account import check_account, identify
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.intake.entries import Entry
from eurosky_pipeline.intake.rows import Rejected
from eurosky_pipeline.xrpc.workers import run_workers

WORKERS: Final = 8
_SOURCES_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A row that has been looked up; `warnings` are differences that do not stop it, a sentence each."""

    entry: Entry
    warnings: tuple[str, ...] = ()


class NotLookedUp(Rejected):
    """A row that nobody has looked at yet, since the import was stopped."""


class Lookup:
    """Looks accounts up.

    Args:
        directory_of: where the accounts of a source's URL are known.
        is_each_checked: also rows that say their DID; else those with a handle alone.
    """

    def __init__(self, directory_of: Callable[[str], Directory], *, is_each_checked: bool) -> None:
        self._directory_of = lru_cache(_SOURCES_REMEMBERED)(directory_of)
        self._is_each_checked = is_each_checked
        self.stop = threading.Event()

    def look_up(self, entries: Sequence[Entry]) -> Iterator[Found | Rejected]:
        """Each entry with its DID, or why it has none; in any order."""
        asked = [entry for entry in entries if self._is_each_checked or entry.did is None]
        yield from (Found(entry) for entry in entries if not (self._is_each_checked or entry.did is None))
        yield from run_workers(asked, self._ask, workers=WORKERS, stop=self.stop)

    def _ask(self, entry: Entry) -> Found | Rejected:
        if self.stop.is_set():
            return NotLookedUp(entry.line, "it was not looked up: the import was stopped")
        try:
            directory = self._directory_of(entry.source_pds)
            if entry.did is not None and entry.handle is not None:
                checked = check_account(directory, did=entry.did, handle=entry.handle, source_pds=entry.source_pds)
                return Found(entry, checked.warnings)
            return _identified(directory, entry)
        except TransientError as error:
            if entry.did is None:
                return Rejected(entry.line, error.message)
            return Found(entry, (f"it could not be checked just now, and will be when it starts: {error.message}",))
        except EuroskyError as error:
            return Rejected(entry.line, error.message)


def _identified(directory: Directory, entry: Entry) -> Found:
    """A row with a DID or a handle alone, and the other one where both name each other. Raises: as `identify`."""
    identity = identify(directory, entry.did or entry.handle or "")
    warnings = [f"the handle is not confirmed: {identity.doubt}"] if identity.doubt else []
    if identity.pds_url != entry.source_pds:
        named = identity.pds_url or "no server that could be asked"
        warnings.append(f"the DID document names {named}, and not the source given, {entry.source_pds}")
    handle = identity.handle if identity.is_handle_verified else entry.handle
    return Found(replace(entry, did=identity.did, handle=handle), tuple(warnings))
