"""Bodies as streams, within bounds of size, time and speed: of answers, in pieces as they come over the wire or whole;
and of requests, from a file."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.bandwidth import Bandwidth
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, error_for_transport
from eurosky_pipeline.xrpc.speed import LEAST_BYTES_PER_S, Speed

SEND_CHUNK_BYTES = 256 * 1024
LEAST_PIECE_BYTES = 32.0
"""On the average, once `PIECES_FORGIVEN` have come: a body in crumbs costs a thousand times what it weighs."""
PIECES_FORGIVEN = 10_000
DIGEST_BYTES_PER_S = 1024 * 1024
"""How fast a host is sure to digest what it was sent, before it answers."""
_IN_BUFFERS_BYTES = 1024 * 1024
"""What has left us and has not reached the host yet, when the last byte was sent."""
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class UploadBody:
    """A file to send: opened anew for each attempt, so that a repeated request starts at its first byte.

    `on_bytes` is told of bytes as they leave.
    """

    path: Path
    size_bytes: int
    content_type: str
    on_bytes: Callable[[int], None] | None = None

    def chunks(self, piece_bytes: int = SEND_CHUNK_BYTES) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(piece_bytes):
                yield chunk
                if self.on_bytes is not None:
                    self.on_bytes(len(chunk))


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body is still on its way.

    `size_bytes` is what the host announced (None if it did not, or if it is the size of something that it says it has
    packed), `mime_type` its Content-Type (empty if it is none that could be sent on in a header), `is_packed` whether
    it says that the bytes are compressed, which it was asked not to do.
    """

    size_bytes: int | None
    mime_type: str
    chunks: Iterator[bytes]
    is_packed: bool = False


@dataclass(frozen=True, slots=True)
class Announced:
    """What a host says of a body that was not asked for; `size_bytes` as in `Download`."""

    size_bytes: int | None


def sent(
    body: UploadBody, host: str, what: str, *, bandwidth: Bandwidth | None = None, stop: threading.Event
) -> Iterator[bytes]:
    """The file, from its first byte; `host` and `what` are for messages.

    Raises: HostUnreachable: the host takes it too slowly. StoppedError: `stop` was set.
    """
    speed = Speed(f"{host} takes the bytes for {what}")
    for chunk in body.chunks(SEND_CHUNK_BYTES if bandwidth is None else bandwidth.piece_bytes):
        _require_going_on(stop)
        if bandwidth is not None:
            bandwidth.take(len(chunk), stop)
        with speed.waiting():
            yield chunk
        speed.add(len(chunk))


def answer_timeout_s(size_bytes: int, silence_s: float) -> float:
    """How long a host may be silent when it has been sent so much, if it may be for `silence_s` where it was sent
    nothing: until what stands in buffers has reached it, and until it has digested all."""
    return silence_s + min(size_bytes, _IN_BUFFERS_BYTES) / LEAST_BYTES_PER_S + size_bytes / DIGEST_BYTES_PER_S


def received(
    response: httpx.Response,
    host: str,
    what: str,
    *,
    bandwidth: Bandwidth | None = None,
    stop: threading.Event | None = None,
) -> Iterator[bytes]:
    """The body, raw as sent; `host` and `what` are for messages.

    Raises: HostUnreachable: it breaks off, or comes too slowly. AnswerInvalid: it comes in crumbs. StoppedError: `stop`
    was set.
    """
    stop = stop or threading.Event()
    speed, pieces, received_bytes = Speed(f"{host} answers {what}"), 0, 0
    raw = response.iter_raw()  # as they come: a given size would wait for that much from a slow host
    try:
        while True:
            _require_going_on(stop)
            with speed.waiting():
                chunk = next(raw, None)
            if chunk is None:
                return
            pieces, received_bytes = pieces + 1, received_bytes + len(chunk)
            speed.add(len(chunk))
            if pieces > PIECES_FORGIVEN and received_bytes < LEAST_PIECE_BYTES * pieces:
                raise AnswerInvalid(f"{host} answers {what} in more than {PIECES_FORGIVEN} crumbs")
            if bandwidth is not None:
                bandwidth.take(len(chunk), stop)
            yield chunk
    except httpx.HTTPError as error:
        raise error_for_transport(error, host=host, nsid=what) from None


def announced_bytes(response: httpx.Response) -> int | None:
    """The size of the body by its Content-Length, if that is a number of the bytes that are wanted."""
    announced = response.headers.get("content-length", "")
    return int(announced) if is_as_it_is(response) and _LENGTH.fullmatch(announced) else None


def is_as_it_is(response: httpx.Response) -> bool:
    """Whether the host says that the body is not compressed."""
    return response.headers.get("content-encoding", "").strip().lower() in {"", "identity"}


def bounded_body(
    response: httpx.Response,
    host: str,
    what: str,
    *,
    max_bytes: int,
    deadline_s: float,
    stop: threading.Event | None = None,
) -> bytes:
    """The whole body.

    Args:
        deadline_s: by `time.monotonic`.

    Raises: HostUnreachable: it breaks off, or is not there in time. AnswerInvalid: it is larger than `max_bytes`.
    StoppedError: `stop` was set.
    """
    body = bytearray()
    for chunk in received(response, host, what, stop=stop):
        body += chunk
        if len(body) > max_bytes:
            raise AnswerInvalid(f"{host} answered {what} with more than {max_bytes} bytes")
        if time.monotonic() > deadline_s:
            raise HostUnreachable(f"{host} takes too long to answer {what}", hint="try again later")
    return bytes(body)


def _require_going_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError("asked to stop while bytes were on their way")
