"""What a host's headers say about waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

_LEAST_UNIX_S = 1e9


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by `Retry-After` or `RateLimit-Reset`; None if neither is usable.

    The first is in seconds. The second is in Unix seconds on the reference PDS, and in seconds from now in the IETF's
    draft; no limit lasts for decades, so the number itself tells which.
    """
    for name in ("retry-after", "ratelimit-reset"):
        try:
            number = float(headers[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(number):
            return max(0.0, number - time.time() if number >= _LEAST_UNIX_S else number)
    return None
