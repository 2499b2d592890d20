"""Which faults there are, and which requests they are for."""

from __future__ import annotations

import email.utils
import json
import time
from dataclasses import dataclass
from enum import StrEnum

TOMORROW_S = 86_390
"""When the reference PDS's daily limit resets, at the worst."""


class Fault(StrEnum):
    """What the proxy does to a request or its answer."""

    NONE = "none"
    LATENCY = "latency"
    RESET_BEFORE = "reset before the answer"
    RESET_DOWN = "reset in the answer's body"
    RESET_UP = "reset in the request's body"
    RESET_STORED = "reset after it was done"
    REFUSED = "connections refused"
    CUT_SHORT = "fewer bytes than announced"
    SHORTER = "a shorter body, announced so"
    PADDED = "a longer body, announced so"
    OVERLONG = "more bytes than announced"
    WRONG_BYTES = "wrong bytes"
    WRONG_CID = "wrong CID in the answer"
    LIMITED_SECONDS = "429, Retry-After in seconds"
    LIMITED_DATE = "429, Retry-After as a date"
    LIMITED_UNIX = "429, RateLimit-Reset in Unix seconds"
    LIMITED_DELTA = "429, RateLimit-Reset in seconds"
    LIMITED_BARE = "429 without a header"
    LIMITED_TOMORROW = "429 that resets tomorrow"
    SERVER_500 = "500"
    SERVER_502 = "502 in HTML"
    SERVER_503 = "503, Retry-After"
    DRIP = "slow drip"
    STALL = "stall"
    EXPIRED_400 = "expired token, 400"
    EXPIRED_401 = "expired token, 401"


ON_THE_ANSWER = frozenset(
    {
        Fault.RESET_DOWN,
        Fault.RESET_STORED,
        Fault.CUT_SHORT,
        Fault.SHORTER,
        Fault.PADDED,
        Fault.OVERLONG,
        Fault.WRONG_BYTES,
        Fault.WRONG_CID,
        Fault.DRIP,
    }
)
"""The server has done what it was asked to; what comes back of it is spoilt."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault, and the requests that it befalls.

    Args:
        nsid: the endpoint; `method` is GET, POST or HEAD, any of them if it is empty.
        first, count: from the n-th request (from 1) on, for so many requests.
        blob_cid: the requests for this one blob instead, every one of them.
        seconds: how long it lasts: the latency, the stall, the closed door, what a 429 or a 503 asks for.
        bytes_per_s: of the slow drip.
    """

    fault: Fault
    nsid: str
    method: str = ""
    first: int = 1
    count: int = 1
    blob_cid: str | None = None
    seconds: float = 1.0
    bytes_per_s: float = 400.0

    def befalls(self, method: str, nsid: str, number: int, blob_cid: str | None) -> bool:
        if nsid != self.nsid or self.method not in ("", method):
            return False
        if self.blob_cid is not None:
            return blob_cid == self.blob_cid
        return self.first <= number < self.first + self.count


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the proxy gives in the server's place."""

    status: int
    body: bytes
    headers: dict[str, str]


def refusal_of(rule: Rule) -> Refusal | None:
    """What is answered without asking the server; None for a fault of another kind."""
    seconds, now_s = rule.seconds, time.time()
    limited: dict[Fault, dict[str, str]] = {
        Fault.LIMITED_SECONDS: {"retry-after": f"{seconds:.0f}"},
        Fault.LIMITED_DATE: {"retry-after": email.utils.formatdate(now_s + seconds, usegmt=True)},
        Fault.LIMITED_UNIX: {"ratelimit-reset": f"{now_s + seconds:.0f}"},
        Fault.LIMITED_DELTA: {"ratelimit-reset": f"{seconds:.0f}"},
        Fault.LIMITED_BARE: {},
        Fault.LIMITED_TOMORROW: {
            "retry-after": str(TOMORROW_S),
            "ratelimit-limit": "1000",
            "ratelimit-remaining": "0",
            "ratelimit-reset": f"{now_s + TOMORROW_S:.0f}",
            "ratelimit-policy": "1000;w=86400",
        },
    }
    if rule.fault in limited:
        return _json(429, "RateLimitExceeded", "Rate Limit Exceeded", limited[rule.fault])
    html = {"content-type": "text/html"}
    others = {
        Fault.SERVER_500: _json(500, "InternalServerError", "Internal Server Error"),
        Fault.SERVER_502: Refusal(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", html),
        Fault.SERVER_503: _json(503, "NotAvailable", "come again", {"retry-after": f"{seconds:.0f}"}),
        Fault.EXPIRED_400: _json(400, "ExpiredToken", "Token has expired"),
        Fault.EXPIRED_401: _json(401, "ExpiredToken", "Token has expired"),
    }
    return others.get(rule.fault)


def _json(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> Refusal:
    body = json.dumps({"error": name, "message": message}).encode()
    return Refusal(status, body, {"content-type": "application/json", **(headers or {})})
