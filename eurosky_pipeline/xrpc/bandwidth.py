"""How many bytes a second a run may move, down and up together: one bucket for all of its workers.

Each piece of a body has its place on one line of time, as long as the piece is at that speed; who has come too early
for the end of its place waits until then. So nobody polls, nobody is overtaken, and the speed is kept to within a
burst.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.pacing import Pause

BURST_S: Final = 0.1
"""Time that was not used, and may be made up for."""
_MOST_PIECE_BYTES: Final = 256 * 1024
_LEAST_PIECE_BYTES: Final = 4096


class Bandwidth:
    """A cap that threads share.

    Args:
        bytes_per_s: more than 0.
        clock, pause: stand in for time, in tests.
    """

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = threading.Event.wait,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._taken_until_s = clock()

    @property
    def piece_bytes(self) -> int:
        """In how large pieces a file is best sent: none that keeps a host waiting for much longer than a burst."""
        return int(min(max(self.bytes_per_s * BURST_S, _LEAST_PIECE_BYTES), _MOST_PIECE_BYTES))

    def take(self, count: int, stop: threading.Event) -> None:
        """Wait until `count` more bytes may have gone. Raises StoppedError: `stop` is set, or was meanwhile."""
        with self._lock:
            now_s = self._clock()
            begin_s = max(self._taken_until_s, now_s - BURST_S)
            self._taken_until_s = begin_s + count / self.bytes_per_s
            wait_s = self._taken_until_s - now_s
        if stop.is_set() or (wait_s > 0 and self._pause(stop, wait_s)):
            raise StoppedError("asked to stop while it kept to EUROSKY_MAX_BYTES_PER_S")
