"""One connection to a host, which does not listen for ever, nor speak: bounded heads, bounded silence, a least speed,
and an end within a moment where the request is asked to stop."""

from __future__ import annotations

import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import httpcore

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.errors import AnswerInvalid
from eurosky_pipeline.xrpc.speed import LEAST_BYTES_PER_S

MAX_HEAD_BYTES = 64 * 1024
"""For all that is no body: status line and headers, 1xx answers before them; and between two pieces of a body, chunk
sizes, extensions and trailers. Honest heads are below 16 KiB."""
HEAD_TIMEOUT_S = 60.0
"""For the same, from its first byte; the wait for that one is the client's read time-out."""
BODY_READ_BYTES = 256 * 1024
"""How much of a body is taken at once, if it is there: each piece costs the same, however large it is."""
STOP: Final = "eurosky.stop"
"""A request's extension: the event that ends it, wherever it is, with a StoppedError."""
STOP_LOOK_S = 0.25
"""How often a connection that waits looks whether it is asked to stop."""

Found = TypeVar("Found")

_thread = threading.local()


class BoundedStream(httpcore.NetworkStream):
    """A connection that does not listen for ever: see MAX_HEAD_BYTES and HEAD_TIMEOUT_S.

    The count starts with each request written, and anew with `restart`: after a head, and after each piece of a body.
    Bodies have their own bounds, where they are read. What waits ends within STOP_LOOK_S when the stop of the request
    that is under way in this thread is set.

    The socket does not block: what it can do at once costs one system call.
    """

    def __init__(self, sock: socket.socket, host: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._host = host
        self.restart()

    def restart(self) -> None:
        self._overhead_bytes = 0
        self._first_byte_s: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._overhead_bytes >= MAX_HEAD_BYTES:
            raise AnswerInvalid(f"{self._host} sent more than {MAX_HEAD_BYTES} bytes of headers")
        if self._first_byte_s is not None:
            left_s = self._first_byte_s + HEAD_TIMEOUT_S - time.monotonic()
            if left_s <= 0:
                raise httpcore.ReadTimeout(f"its headers took more than {HEAD_TIMEOUT_S:.0f} s")
            timeout = left_s if timeout is None else min(timeout, left_s)
        with socket_errors(httpcore.ReadTimeout, httpcore.ReadError):
            most_bytes = max_bytes - self._overhead_bytes
            data = self._done(partial(self._socket.recv, most_bytes), select.POLLIN, timeout)
        self._overhead_bytes += len(data)
        if self._first_byte_s is None:
            self._first_byte_s = time.monotonic()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """`timeout` is for silence; for all of it, there is as much more time as the least speed allows."""
        self.restart()
        rest, begun_s = memoryview(buffer), time.monotonic()
        longest_s = None if timeout is None else timeout + len(buffer) / LEAST_BYTES_PER_S
        with socket_errors(httpcore.WriteTimeout, httpcore.WriteError):
            while rest:
                rest = rest[self._done(partial(self._socket.send, rest), select.POLLOUT, timeout) :]
                if rest and longest_s is not None and time.monotonic() - begun_s > longest_s:
                    raise TimeoutError("it takes the bytes too slowly to go on")

    def close(self) -> None:
        self._socket.close()

    def _done(self, work: Callable[[], Found], events: int, timeout_s: float | None) -> Found:
        """What `work` does with the socket, at the latest after so many seconds of waiting for `events`.

        Raises: TimeoutError, StoppedError.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._require_going_on()
            try:
                return work()
            except BlockingIOError:
                self._wait(events, deadline_s)
            except ssl.SSLWantReadError:  # TLS may have to read in order to write, and the other way round
                self._wait(select.POLLIN, deadline_s)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline_s)

    def _wait(self, events: int, deadline_s: float | None) -> None:
        poll = select.poll()  # select() cannot watch descriptors from 1024 up
        poll.register(self._socket, events)
        while True:
            left_s = STOP_LOOK_S if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            if poll.poll(math.ceil(min(STOP_LOOK_S, left_s) * 1000)):
                return
            self._require_going_on()

    def _require_going_on(self) -> None:
        stop: threading.Event | None = getattr(_thread, "stop", None)
        if stop is not None and stop.is_set():
            raise StoppedError(f"asked to stop while {self._host} was waited for")

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> BoundedStream:
        with socket_errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._socket.settimeout(timeout)
                return BoundedStream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._host)
            except Exception:
                self.close()
                raise

    def get_extra_info(self, info: str) -> Any:
        """What httpcore's own streams tell."""
        if info == "is_readable":  # while idle: the other side has hung up, or speaks without being asked
            return _is_readable(self._socket)
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info in {"client_addr", "server_addr"}:
            return self._socket.getsockname() if info == "client_addr" else self._socket.getpeername()
        return self._socket if info == "socket" else None


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    poll = select.poll()  # select() cannot watch descriptors from 1024 up
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def stopped_by(stop: threading.Event | None) -> Iterator[None]:
    """Connections that this thread waits for look at `stop` meanwhile; there is no other way to tell them."""
    before = getattr(_thread, "stop", None)
    _thread.stop = stop
    try:
        yield
    finally:
        _thread.stop = before


@contextmanager
def socket_errors(on_timeout: type[Exception], on_error: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise on_timeout(str(error)) from error
    except OSError as error:
        raise on_error(str(error)) from error
