"""The intake source `watched_folder`: lists of accounts that somebody puts into a folder (`EUROSKY_INTAKE_FOLDER`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from eurosky_pipeline.intake.claimed_list import ClaimedList, Drawn
from eurosky_pipeline.intake.folder import Folder, FolderError, Left, claim, claimed_lists, opened, waiting
from eurosky_pipeline.intake.list_book import sweep
from eurosky_pipeline.intake.rows import TOLD_ONLY, Rejected, Row
from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.intake_sources import (
    PASSWORDS,
    Account,
    IntakeContext,
    IntakeSource,
    Registered,
    Reply,
)
from eurosky_pipeline.words import one_line

if TYPE_CHECKING:
    from pydantic import SecretStr

_LEFT_TOLD: Final = 5
_LEAST_TIME_S: Final = 0.5


class WatchedFolder(IntakeSource):
    """Takes every list out of the folder once it is whole, and leaves what became of it.

    Args:
        path: the folder; None for the one that the settings name, and if they name none there is nothing to do.
    """

    name: ClassVar[str] = "watched_folder"
    version: ClassVar[str] = "1"

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._report: Callable[[str], None] = lambda _: None
        self._open = ExitStack()
        self._offers: dict[int, tuple[Account, ClaimedList, Drawn]] = {}
        self._lists: dict[str, ClaimedList] = {}

    def poll(self, context: IntakeContext) -> Iterator[Account]:
        """Raises: FolderError."""
        from eurosky_pipeline.settings import load_settings  # whoever only loads the plugins need not wait for it

        path = self._path or load_settings().intake_folder
        if path is None:
            return
        folder = self._open.enter_context(opened(path))
        if folder is None:
            context.report(f"another process is at {path} just now")
            return
        self._report = context.report
        try:
            sweep(folder)
            for name in self._names(folder, context):
                yield from self._accounts(folder, name)
        except OSError as error:
            raise _told(path, error) from None

    def answered(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:
        """Raises: FolderError where it cannot be written down."""
        found = self._offers.pop(id(offer), None)
        if found is None:
            return
        _, hand, drawn = found
        try:
            hand.answer(drawn, reply, token, reason)
            self._end_if_ready(hand)
        except OSError as error:
            raise _told(hand.called, error) from None

    def close(self) -> None:
        try:
            for hand in self._lists.values():
                hand.save()
                hand.close()
        finally:
            self._lists.clear()
            self._offers.clear()
            self._open.close()

    def _names(self, folder: Folder, context: IntakeContext) -> Iterator[str]:
        """The claimed lists, first those that were begun; each new one is claimed when its turn comes, and there is
        time for it."""
        for name in claimed_lists(folder):
            if context.time_left_s() >= _LEAST_TIME_S:
                yield name
        left: list[Left] = []
        for found in waiting(folder.root, folder.now_s):
            if isinstance(found, Left):
                left.append(found)
                continue
            if context.time_left_s() < _LEAST_TIME_S:
                break
            try:
                claimed = claim(folder, found)
            except FileNotFoundError:  # another process was faster
                continue
            except OSError as error:
                left.append(Left(found, f"it cannot be moved: {error.strerror or type(error).__name__}"))
                continue
            os.fsync(folder.taking)
            yield claimed
        for item in islice(left, _LEFT_TOLD):
            self._report(f"{one_line(item.name)} is left where it is: {item.reason}")
        if len(left) > _LEFT_TOLD:
            self._report(f"and {len(left) - _LEFT_TOLD} more are")

    def _accounts(self, folder: Folder, name: str) -> Iterator[Account]:
        hand = self._lists[name] = ClaimedList(folder, name)
        for drawn in hand.rows():
            origin = f"{one_line(hand.called)} line {drawn.line}"
            if isinstance(drawn.item, Rejected):
                self._report(f"{origin}: rejected, {drawn.item.reason}")
                hand.answer(drawn, Reply.REJECTED, None, drawn.item.reason)
                continue
            account = Account(_fields(drawn.item), origin)
            self._offers[id(account)] = (account, hand, drawn)
            yield account
        self._end_if_ready(hand)

    def _end_if_ready(self, hand: ClaimedList) -> None:
        if hand.name in self._lists and hand.is_ready:
            if told := hand.end():
                self._report(told)
            if hand.is_drawn:
                del self._lists[hand.name]


def _fields(row: Row) -> dict[str, str | SecretStr]:
    from pydantic import SecretStr

    return {
        name: SecretStr(value) if name in PASSWORDS else value
        for name, value in row.values.items()
        if name not in TOLD_ONLY
    }


def _told(what: object, error: OSError) -> FolderError:
    return FolderError(
        f"{what}: {error.strerror or type(error).__name__}",
        hint="make room or mend the disk; what was registered is in, and the rest is taken up by the next tick",
    )


@hookimpl
def eurosky_intake_sources() -> Sequence[type[IntakeSource]]:
    return [WatchedFolder]
