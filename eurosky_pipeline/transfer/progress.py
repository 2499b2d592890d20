"""Telling people how far a stage is; what a foreground command draws as bars, and a daemon's run ignores."""

from __future__ import annotations

from typing import Protocol


class ProgressSink(Protocol):
    """Called from the op's own thread, and for bytes under way from workers: implementations must be thread-safe."""

    def begin(self, stage: str, total: int | None, unit: str) -> None:
        """A stage begins; `total` in `unit` ("B" for bytes), None if nobody knows."""

    def advance(self, stage: str, amount: int) -> None:
        """`amount` more units are done."""

    def end(self, stage: str, summary: str) -> None:
        """The stage is done."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, stage: str, total: int | None, unit: str) -> None: ...

    def advance(self, stage: str, amount: int) -> None: ...

    def end(self, stage: str, summary: str) -> None: ...
