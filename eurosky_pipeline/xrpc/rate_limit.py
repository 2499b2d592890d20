"""What a host's headers say about waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 90.0 * 86400
"""Nobody means more than that."""
_LEAST_UNIX_S = 1e9


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by `Retry-After` or `RateLimit-Reset`; None if neither is usable.

    The first is in seconds, or an HTTP date. The second is in Unix seconds on the reference PDS, and in seconds from
    now in the IETF's draft; no limit lasts for decades, so the number itself tells which.
    """
    for name in ("retry-after", "ratelimit-reset"):
        number = _seconds_of(headers.get(name, ""))
        if number is not None and math.isfinite(number):
            return min(max(0.0, number - time.time() if number >= _LEAST_UNIX_S else number), MAX_RETRY_AFTER_S)
    return None


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
