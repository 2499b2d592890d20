"""GET one small public document from a stranger, bounded in size and in time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from eurosky_pipeline.xrpc.bodies import bounded_body
from eurosky_pipeline.xrpc.errors import error_for_transport

SILENCE_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 20.0
"""For the whole of a body, from its first byte."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status; `location` is where a redirect points, and may be empty."""

    status: int
    location: str
    body: bytes


def fetch(http: httpx.Client, url: str, *, what: str, max_bytes: int) -> Fetched:
    """Ask once; redirects are the caller's to follow, since each of their hosts has to be checked first.

    Args:
        url: its host has been accepted by the host policy.
        what: what is asked for, for an error's message.

    Raises:
        HostUnreachable: no whole answer, or not in time.
        AnswerInvalid: a body of more than `max_bytes`.
    """
    host = httpx.URL(url).netloc.decode("ascii", "replace")
    deadline_s = time.monotonic() + TOTAL_TIMEOUT_S
    headers = {"Accept-Encoding": "identity"}  # bounds are for bytes as they come, and few bytes can unpack to many
    try:
        with http.stream("GET", url, headers=headers, timeout=SILENCE_TIMEOUT_S, follow_redirects=False) as response:
            body = bounded_body(response, host, what, max_bytes=max_bytes, deadline_s=deadline_s)
            return Fetched(response.status_code, response.headers.get("location", ""), body)
    except httpx.HTTPError as error:
        raise error_for_transport(error, host=host, nsid=what) from None


def is_passing(status: int) -> bool:
    """Whether the status says that the same question may be answered later."""
    return status in (408, 425, 429) or status >= 500
