"""Bodies of answers: in pieces as they come over the wire, or whole within bounds of size and time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, error_for_transport

LEAST_BYTES_PER_S = 1024.0
"""On the average since the body began, once `PATIENCE_S` are over; slower, and a host could hold a worker for ever."""
PATIENCE_S = 60.0
LEAST_PIECE_BYTES = 32.0
"""On the average, once `PIECES_FORGIVEN` have come: a body in crumbs costs a thousand times what it weighs."""
PIECES_FORGIVEN = 10_000


def chunks(response: httpx.Response, host: str, what: str) -> Iterator[bytes]:
    """The body, raw as sent; `host` and `what` are for messages.

    Raises: HostUnreachable: it breaks off, or comes too slowly. AnswerInvalid: it comes in crumbs.
    """
    begun_s, pieces, received_bytes = time.monotonic(), 0, 0
    try:
        for chunk in response.iter_raw():  # as they come: a given size would wait for that much from a slow host
            pieces, received_bytes = pieces + 1, received_bytes + len(chunk)
            yield chunk
            elapsed_s = time.monotonic() - begun_s
            if elapsed_s > PATIENCE_S and received_bytes < LEAST_BYTES_PER_S * elapsed_s:
                raise HostUnreachable(f"{host} answers {what} too slowly to go on", hint="try again later")
            if pieces > PIECES_FORGIVEN and received_bytes < LEAST_PIECE_BYTES * pieces:
                raise AnswerInvalid(f"{host} answers {what} in more than {PIECES_FORGIVEN} crumbs")
    except httpx.HTTPError as error:
        raise error_for_transport(error, host=host, nsid=what) from None


def bounded_body(response: httpx.Response, host: str, what: str, *, max_bytes: int, deadline_s: float) -> bytes:
    """The whole body.

    Args:
        deadline_s: by `time.monotonic`.

    Raises: HostUnreachable: it breaks off, or is not there in time. AnswerInvalid: it is larger than `max_bytes`.
    """
    body = bytearray()
    for chunk in chunks(response, host, what):
        body += chunk
        if len(body) > max_bytes:
            raise AnswerInvalid(f"{host} answered {what} with more than {max_bytes} bytes")
        if time.monotonic() > deadline_s:
            raise HostUnreachable(f"{host} takes too long to answer {what}", hint="try again later")
    return bytes(body)
