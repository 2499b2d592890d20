"""What a host's headers say about waiting, and about what is left before one has to wait."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 90.0 * 86400
"""Nobody means more than that."""
_LEAST_UNIX_S = 1e9
_COUNT = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_POLICY = re.compile(r"([0-9]{1,15})\s*;\s*w=([0-9]{1,15})(?![0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The limit that is nearest to being reached, as one answer tells it.

    `limit` is how many requests a window allows (None if it is not told), `remaining` how many of them are left, and
    `reset_s` in how many seconds the next window begins.
    """

    limit: int | None
    remaining: int
    reset_s: float


def rate_limit_of(headers: Mapping[str, str]) -> RateLimit | None:
    """The limit by `RateLimit-Limit`, `-Remaining`, `-Reset` and `-Policy`; None unless they tell what is left, and
    until when.

    A reset beyond the policy's window is a clock that goes wrong, here or there: no window is longer than it is.
    Spec: draft-ietf-httpapi-ratelimit-headers-06, and what the reference PDS makes of it.
    """
    remaining = _count(headers.get("ratelimit-remaining", ""))
    if remaining is None:
        return None
    limit = _count(headers.get("ratelimit-limit", ""))
    policies = [(int(quota), float(window)) for quota, window in _POLICY.findall(headers.get("ratelimit-policy", ""))]
    windows_s = [window_s for quota, window_s in policies if quota == limit or len(policies) == 1]
    if limit is None and len(policies) == 1:
        limit = policies[0][0]
    told = [_from_now_s(headers, "ratelimit-reset"), *windows_s]
    usable = [seconds for seconds in told if seconds is not None]
    return RateLimit(limit, max(0, remaining), min([*usable, MAX_RETRY_AFTER_S])) if usable else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by `Retry-After` or `RateLimit-Reset`; None if neither is usable.

    The first is in seconds, or an HTTP date. The second is in Unix seconds on the reference PDS, and in seconds from
    now in the IETF's draft; no limit lasts for decades, so the number itself tells which.
    """
    for name in ("retry-after", "ratelimit-reset"):
        seconds = _from_now_s(headers, name)
        if seconds is not None:
            return seconds
    return None


def _from_now_s(headers: Mapping[str, str], name: str) -> float | None:
    """A moment as seconds from now, by the host's own clock where the answer has its time."""
    number = _seconds_of(headers.get(name, ""))
    if number is None or not math.isfinite(number):
        return None
    if number >= _LEAST_UNIX_S:
        number -= _seconds_of(headers.get("date", "")) or time.time()
    return min(max(0.0, number), MAX_RETRY_AFTER_S)


def _seconds_of(text: str) -> float | None:
    """A number, or the Unix seconds of an HTTP date."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _count(text: str) -> int | None:
    found = _COUNT.match(text.strip())
    return int(found.group()) if found else None
