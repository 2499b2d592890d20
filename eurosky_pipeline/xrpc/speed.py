"""The least speed at which a host has to take and to give bytes: a bound for bodies of every size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eurosky_pipeline.xrpc.errors import HostUnreachable

LEAST_BYTES_PER_S = 8192.0
"""On the average since the body began, once `PATIENCE_S` are over: a twelfth of what five streams at a time have of an
uplink of 4 Mbit/s. A gigabyte may take a day and a half so; more slowly, and a host could hold a worker for ever."""
PATIENCE_S = 60.0


class Speed:
    """How fast one body goes. What counts is the time in which the host is waited for, and not what is done between.

    Args:
        what: is too slow, for the message: "pds.example answers getBlob".
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._waited_s = 0.0
        self._bytes = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For the time of this block, the host is waited for."""
        begun_s = self._clock()
        yield
        self._waited_s += self._clock() - begun_s

    def add(self, count: int) -> None:
        """So many bytes have gone. Raises HostUnreachable: too slowly to go on."""
        self._bytes += count
        if self._waited_s > PATIENCE_S and self._bytes < LEAST_BYTES_PER_S * self._waited_s:
            raise HostUnreachable(f"{self._what} too slowly to go on", hint="try again later")
