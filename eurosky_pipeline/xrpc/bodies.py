"""Bodies of answers: in pieces as they come over the wire, or whole within bounds of size and time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, error_for_transport


def chunks(response: httpx.Response, host: str, what: str) -> Iterator[bytes]:
    """The body, raw as sent. Raises HostUnreachable if it breaks off; `host` and `what` are for its message."""
    try:
        yield from response.iter_raw()  # as they come: a given size would wait for that much from a slow host
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
