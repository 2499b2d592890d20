"""Telling people how far a stage is; what a foreground command draws as bars, and a daemon's run ignores."""

from __future__ import annotations

from typing import Protocol


class ProgressSink(Protocol):
    """Called from the op's own thread, and for what is under way from workers: implementations must be thread-safe.

    A stage counts its `unit`. One that moves things of different sizes also tells of the bytes: they show its pace.
    """

    def begin(self, stage: str, total: int | None, unit: str, total_bytes: int | None = None) -> None:
        """A stage begins; `total` in `unit` ("B" for bytes), None if nobody knows. `total_bytes` of what it will
        move, where the unit is not bytes and somebody knows."""

    def advance(self, stage: str, amount: int, *, failed: int = 0) -> None:
        """`amount` more units are done, `failed` of them in vain."""

    def moved(self, stage: str, byte_count: int) -> None:
        """So many more bytes have left for where they belong, those of a try that fails later included."""

    def note(self, stage: str, text: str) -> None:
        """What a person who waits should see now: why nothing moves, what has failed. May hold what a server said."""

    def end(self, stage: str, summary: str) -> None:
        """The stage is done."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, stage: str, total: int | None, unit: str, total_bytes: int | None = None) -> None: ...

    def advance(self, stage: str, amount: int, *, failed: int = 0) -> None: ...

    def moved(self, stage: str, byte_count: int) -> None: ...

    def note(self, stage: str, text: str) -> None: ...

    def end(self, stage: str, summary: str) -> None: ...
