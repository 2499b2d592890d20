"""A proxy on loopback before a real PDS: it passes HTTP/1.1 on, with the faults that it is told."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from eurosky_pipeline_tests.faults.handler import Handler
from eurosky_pipeline_tests.faults.record import Record
from eurosky_pipeline_tests.faults.rules import Rule


class FaultProxy:
    """A running proxy. `rules` and `latency_s` (in each request) may be changed at any time."""

    def __init__(self, behind: str, seed: int) -> None:
        parts = urlsplit(behind)
        self.upstream = (parts.hostname or "localhost", parts.port or 80)
        self.seed = seed
        self.rules: list[Rule] = []
        self.record = Record()
        self.latency_s = 0.0
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._open: set[socket.socket] = set()
        self._door = _listen(0)
        self.port: int = self._door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Take connections until `close`, whether the door is shut in between or not."""
        while not self.closing.is_set():
            try:
                connection, address = self._door.accept()
            except OSError:
                time.sleep(0.02)  # the door is shut just now
                continue
            threading.Thread(target=self._talk, args=(connection, address), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        _shut(self._door)
        self._hang_up()

    def shut_door(self, seconds: float) -> None:
        """Refuse connections for a while; the ones that are open are hung up."""
        with self._lock:
            _shut(self._door)
        self._hang_up()

        def open_again() -> None:
            if not self.closing.wait(seconds):
                self._door = _listen(self.port)

        threading.Thread(target=open_again, daemon=True).start()

    def number(self, method: str, nsid: str) -> int:
        """This request's, from 1."""
        with self._lock:
            self._numbers[method, nsid] += 1
            return self._numbers[method, nsid]

    def _talk(self, connection: socket.socket, address: Any) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            with suppress(OSError, ValueError):  # the client may be dead by now
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Handler(connection, address, self)  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def fault_proxy(behind: str, *rules: Rule, seed: int = 1) -> Iterator[FaultProxy]:
    """Serve what the PDS at `behind` serves, with these faults, on a free loopback port until the block ends."""
    proxy = FaultProxy(behind, seed)
    proxy.rules.extend(rules)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)


def _listen(port: int) -> socket.socket:
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("127.0.0.1", port))
    door.listen(128)
    return door


def _shut(door: socket.socket) -> None:
    with suppress(OSError):
        door.shutdown(socket.SHUT_RDWR)
    door.close()
