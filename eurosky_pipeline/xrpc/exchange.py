"""HTTP/1.1 over one connection, a request and its answer after another. Framing: RFC 9112.

h11 writes and reads the heads, judges them, and takes chunked bodies apart. A body whose length the head has told goes
from the socket to the caller in the pieces that it comes in: nobody copies it on the way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import h11
import httpcore
import httpx

from eurosky_pipeline.xrpc.connection import BODY_READ_BYTES, MAX_HEAD_BYTES, BoundedStream

MAX_LINE_BYTES = 100 * 1024
"""For h11: a head, or what it takes to know a chunk, that is longer is none."""
_NO_BODY = frozenset({204, 304})


class Exchanges:
    """One connection; a request is sent once the body of the last answer has been read, and the answer was closed.

    Its errors are httpcore's and those of `BoundedStream`; after any of them, `is_reusable` is false.

    Attributes:
        is_reusable: the last exchange has come to its end.
        was_left: the last request was not the first one here, and not a byte came in answer: as where the host had hung
            up already, which it may do whenever nothing is asked of it.
    """

    def __init__(self, stream: BoundedStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._read_timeout_s: float | None = None
        self._used_at_s = 0.0
        self.is_reusable = self.was_left = False

    def send(self, request: httpx.Request) -> h11.Response:
        """Send it; returns the head of its answer, whose body is still unread."""
        timeouts = request.extensions.get("timeout", {})
        self._read_timeout_s = timeouts.get("read")
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_LINE_BYTES)
        self.is_reusable, self.was_left = False, self._used_at_s > 0
        with suppress(httpcore.WriteError):  # a host may answer, and hang up, before it has taken all
            self._write(request, timeouts.get("write"))
        while not isinstance(event := self._next_event(), h11.Response):
            pass  # 1xx
        self._stream.restart()
        return event

    def body(self, request: httpx.Request, head: h11.Response) -> Iterator[bytes]:
        """The body in pieces as they come; once it has ended, the connection may be used again."""
        length = _told_length(request, head)
        if length is None:
            while isinstance(event := self._next_event(), h11.Data):
                yield bytes(event.data)
                self._stream.restart()
            self._end(self._http.our_state is self._http.their_state is h11.DONE)
            return
        piece, _ = self._http.trailing_data  # came together with the head
        surplus_bytes = len(piece) - length
        piece, left = piece[:length], length
        while left:
            piece = piece or self._read(min(left, BODY_READ_BYTES))
            if not piece:
                raise httpcore.RemoteProtocolError(
                    f"the connection was closed after {length - left} of the body's {length} bytes"
                )
            left -= len(piece)
            yield piece
            self._stream.restart()
            piece = b""
        self._end(surplus_bytes <= 0 and self._http.our_state is h11.DONE)

    def is_stale(self, longest_idle_s: float) -> bool:
        """Whether it has been idle for too long, or the host has hung up, or speaks without being asked."""
        is_old = time.monotonic() - self._used_at_s > longest_idle_s
        return is_old or bool(self._stream.get_extra_info("is_readable"))

    def close(self) -> None:
        self._stream.close()

    def _write(self, request: httpx.Request, timeout_s: float | None) -> None:
        with _protocol_errors():
            unsent = self._http.send(
                h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            )
        for piece in cast("Iterable[bytes]", request.stream):
            with _protocol_errors():
                data = self._http.send(h11.Data(data=piece)) or b""
            if unsent and len(data) <= MAX_HEAD_BYTES:  # a small body goes with its head
                data, unsent = unsent + data, b""
            if unsent:
                self._stream.write(unsent, timeout_s)
                unsent = b""
            self._stream.write(data, timeout_s)
        with _protocol_errors():
            last = (unsent or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        if last:
            self._stream.write(last, timeout_s)

    def _next_event(self) -> Any:
        while True:
            with _protocol_errors():
                event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            data = self._read(MAX_HEAD_BYTES)
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise httpcore.RemoteProtocolError("Server disconnected without sending a response.")
            self._http.receive_data(data)

    def _read(self, most_bytes: int) -> bytes:
        data = self._stream.read(most_bytes, self._read_timeout_s)
        self.was_left = self.was_left and not data
        return data

    def _end(self, is_reusable: bool) -> None:
        self.is_reusable, self._used_at_s = is_reusable, time.monotonic()


def _told_length(request: httpx.Request, head: h11.Response) -> int | None:
    """How long the body is by its Content-Length, which h11 has read; None if that is not how its end is told."""
    headers = dict(head.headers)
    if request.method == "HEAD" or head.status_code in _NO_BODY or b"transfer-encoding" in headers:
        return None
    return int(headers[b"content-length"]) if b"content-length" in headers else None


@contextmanager
def _protocol_errors() -> Iterator[None]:
    try:
        yield
    except h11.LocalProtocolError as error:
        raise httpcore.LocalProtocolError(str(error)) from error
    except h11.RemoteProtocolError as error:
        raise httpcore.RemoteProtocolError(str(error)) from error
