"""A folder for lists, what is written into it, and a registry that the tick around the source offers its rows to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.intake import folder
from eurosky_pipeline.intake.folder import called
from eurosky_pipeline.intake.watched_folder import WatchedFolder
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, Registered, Reply
from eurosky_pipeline_tests.registering import did_of

HEADER = "did,source_pds,destination_pds,destination_password"
HOSTS = "https://old.example,https://new.example"
PASSWORD = "canary-90ab"


class Book:
    """A registry that knows DIDs, and rejects those that begin with `bad`; and the tick around a source."""

    def __init__(self, path: Path, batch: int = 3) -> None:
        self.path, self.batch = path, batch
        self.added: list[str] = []
        self.passwords: dict[str, Any] = {}
        self.told: list[str] = []
        self.source: WatchedFolder | None = None

    def tick(self, most: int = 1_000_000, time_left_s: Callable[[], float] = lambda: 10.0) -> list[tuple[str, Reply]]:
        """Poll the folder once, at most so many offers."""
        self.told = []
        context = IntakeContext(most, lambda _: (), self.told.append, time_left_s)
        source = self.source = WatchedFolder(self.path)
        replies: list[tuple[str, Reply]] = []
        offers = iter(source.poll(context))
        try:
            while most > 0:
                drawn = [offer for _, offer in zip(range(min(self.batch, most)), offers, strict=False)]
                if not drawn:
                    break
                most -= len(drawn)
                answers = [self._register(offer) for offer in drawn]
                for offer, (reply, reason) in zip(drawn, answers, strict=True):
                    replies.append((offer.origin, reply))
                    source.answered(offer, reply, None if reply is Reply.REJECTED else "EURO-1", reason)
        except Killed:  # what the kernel does: the lock is let go
            source._open.close()
            raise
        source.close()
        return replies

    def _register(self, offer: Account | Registered) -> tuple[Reply, str]:
        assert isinstance(offer, Account)
        did = str(offer.fields.get("did", ""))
        if did.startswith("bad"):
            return Reply.REJECTED, "it is bad"
        self.passwords[did] = offer.fields.get("destination_password")
        if did in self.added:
            return Reply.UNCHANGED, ""
        self.added.append(did)
        return Reply.ADDED, ""


class Killed(BaseException):
    """The process is gone: nothing of ours is run after it."""


def take_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; what is put into it counts as whole at once."""
    monkeypatch.setattr(folder, "QUIET_S", -1.0)
    monkeypatch.setattr(folder, "CUT_QUIET_S", -1.0)
    found = tmp_path / "lists"
    found.mkdir(mode=0o700)
    return found


def row(number: int, did: str | None = None) -> str:
    return f"{did or did_of(number)},{HOSTS},{PASSWORD}-{number}\n"


def rows(*numbers: int) -> str:
    return "".join(row(number) for number in numbers)


def files(path: Path) -> list[str]:
    """All below, but for the lock; with their stamps taken out."""
    found = (item for item in path.rglob("*") if item.is_file() and item.name != ".lock")
    return sorted(str(item.relative_to(path).parent / called_of(item.name)) for item in found)


def called_of(name: str) -> str:
    base, dot, rest = name.partition(".result")
    return called(base) + dot + rest


def only(path: Path, pattern: str) -> Path:
    (found,) = path.glob(pattern)
    return found
