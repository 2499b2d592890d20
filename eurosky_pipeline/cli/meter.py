"""How far a stage is, how fast it goes and how long it still takes, in numbers and in words.

What bars and lines show alike; drawing them is not of here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from eurosky_pipeline.words import human_bytes, human_duration, one_line

WINDOW_S: Final = 30.0
"""A rate is that of so many seconds."""
NOTE_S: Final = 5.0
"""A note stays for so long at least, and until something moves again."""
_SAMPLE_S: Final = 1.0
_NOTE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter says at one moment.

    Attributes:
        done, failed: of `total`, in the stage's unit; `failed` are among `done`.
        moved_bytes: in this run.
        bytes_per_s: over the last half minute; None in the first second, or where nobody tells of bytes.
        left_s: until the end at this pace; None if nobody can say.
        note: what a person should know now; on one line, and nothing that moves a terminal's cursor.
    """

    done: int
    total: int | None
    unit: str
    failed: int
    moved_bytes: int
    bytes_per_s: float | None
    left_s: float | None
    note: str

    @property
    def amount(self) -> str:
        """`1,203 of 25,000 blobs`."""
        is_bytes = self.unit == "B"
        done, total = (human_bytes(n) if is_bytes else f"{n:,}" for n in (self.done, self.total or 0))
        return " ".join([done, *(["of", total] if self.total else []), *([] if is_bytes else [self.unit])])

    @property
    def facts(self) -> str:
        """All that is known beside the amount: `412.3 MiB, 8.1 MiB/s, 12 min left, 3 failed; waiting 32 s for …`."""
        facts = [human_bytes(self.moved_bytes)] if self.moved_bytes and self.unit != "B" else []
        if self.bytes_per_s is not None:
            facts.append(f"{human_bytes(self.bytes_per_s)}/s")
        if self.left_s is not None:
            facts.append(f"{human_duration(self.left_s)} left")
        if self.failed:
            facts.append(f"{self.failed:,} failed")
        return "; ".join(part for part in (", ".join(facts), self.note) if part)


class _Sample(NamedTuple):
    at_s: float
    done: int
    moved_bytes: int


class Meter:
    """Counts one stage; threads share it.

    Args:
        total: in `unit` ("B" for bytes); None if nobody knows, as `total_bytes` of what the stage will move.
        clock: stands in for time, in tests.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        total_bytes: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._total_bytes = total, unit, total_bytes
        self._clock, self._began_s = clock, clock()
        self._lock = threading.Lock()
        self._done = self._failed = self._moved_bytes = 0
        self._has_moved = False
        self._note, self._note_until_s = "", 0.0
        self._samples = deque([_Sample(self._began_s, 0, 0)])

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._began_s

    def advance(self, amount: int, failed: int = 0) -> None:
        with self._lock:
            self._done += amount
            self._failed += failed
            if self._unit == "B":
                self._moved_bytes += amount
            self._has_moved = True

    def moved(self, byte_count: int) -> None:
        with self._lock:
            self._moved_bytes += byte_count
            self._has_moved = True

    def note(self, text: str) -> None:
        with self._lock:
            self._note = one_line(text, _NOTE_LENGTH)
            self._note_until_s = self._clock() + NOTE_S
            self._has_moved = False

    def read(self) -> Reading:
        """To be called every few seconds: a rate is known from what was read before."""
        with self._lock:
            now = _Sample(self._clock(), self._done, self._moved_bytes)
            since = self._sampled(now)
            if self._has_moved and now.at_s >= self._note_until_s:
                self._note = ""
            return Reading(
                done=self._done,
                total=self._total,
                unit=self._unit,
                failed=self._failed,
                moved_bytes=self._moved_bytes,
                bytes_per_s=self._bytes_per_s(since, now),
                left_s=self._left_s(since, now),
                note=self._note,
            )

    def _sampled(self, now: _Sample) -> _Sample:
        """Remember this; the sample to reckon from is the newest that is as old as the window, or the first."""
        if now.at_s - self._samples[-1].at_s >= _SAMPLE_S:
            self._samples.append(now)
        while len(self._samples) > 1 and self._samples[1].at_s <= now.at_s - WINDOW_S:
            self._samples.popleft()
        return self._samples[0]

    def _bytes_per_s(self, since: _Sample, now: _Sample) -> float | None:
        is_told = self._moved_bytes > 0 and now.at_s - since.at_s >= _SAMPLE_S
        return (now.moved_bytes - since.moved_bytes) / (now.at_s - since.at_s) if is_told else None

    def _left_s(self, since: _Sample, now: _Sample) -> float | None:
        """The later of two guesses: small blobs take their time each, large ones by their bytes."""
        span_s = now.at_s - since.at_s
        if span_s < _SAMPLE_S:
            return None
        amounts = [(self._total, since.done, now.done), (self._total_bytes, since.moved_bytes, now.moved_bytes)]
        guesses = [
            max(0, total - after) * span_s / (after - before)
            for total, before, after in amounts
            if total is not None and after > before
        ]
        return max(guesses, default=None)
