"""Connections that are kept for the next request, by where they lead.

httpcore's pool looks at all of its connections whenever one is taken or given back, and asks the system about each
that is idle: with sixteen workers, that is what they are busy with. Here who comes takes the connection that was used
last, and looks at no other.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

import httpx

from eurosky_pipeline.xrpc.connection import BoundedStream
from eurosky_pipeline.xrpc.exchange import Exchanges

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host name, port."""


def origin_of(url: httpx.URL) -> Origin:
    return url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


class KeptConnections:
    """Take one, and give it back; threads share this, but never a connection.

    Args:
        connect: a new connection to there, within so many seconds.
        longest_idle_s: after which a connection is not used again; hosts close them after a while.
        most: kept for one origin.
    """

    def __init__(
        self, connect: Callable[[Origin, float | None], BoundedStream], *, longest_idle_s: float, most: int
    ) -> None:
        self._connect = connect
        self._longest_idle_s = longest_idle_s
        self._most = most
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Exchanges]] = defaultdict(list)

    def take(self, origin: Origin, connect_timeout_s: float | None) -> Exchanges:
        """One that was kept, if any is still good; else a new one. Raises what `connect` raises."""
        while True:
            with self._lock:
                idle = self._idle[origin]
                found = idle.pop() if idle else None
            if found is None:
                return Exchanges(self._connect(origin, connect_timeout_s))
            if not found.is_stale(self._longest_idle_s):
                return found
            found.close()

    def give_back(self, origin: Origin, connection: Exchanges) -> None:
        """Keep it, or close it where its last exchange has not come to its end."""
        if not connection.is_reusable:
            connection.close()
            return
        with self._lock:
            idle = self._idle[origin]
            idle.append(connection)
            surplus = idle.pop(0) if len(idle) > self._most or idle[0].is_stale(self._longest_idle_s) else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            found = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in found:
            connection.close()
