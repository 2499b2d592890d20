"""What hosts' clocks say, read off the `Date` of whatever they answer: nothing is asked for it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx


class Clocks:
    """By how much each host's clock is ahead of ours, by its newest answer; an httpx response hook."""

    def __init__(self) -> None:
        self._ahead_s: dict[str, float] = {}

    def hear(self, response: httpx.Response) -> None:
        """Never raises: a host may write there what it likes."""
        try:
            told_s = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError, OSError):
            return
        self._ahead_s[response.request.url.netloc.decode("ascii", "replace")] = told_s - time.time()

    def ahead_s(self, host: str) -> float | None:
        """Seconds, negative where the host is behind; None where it has told nothing. Right to about a second."""
        return self._ahead_s.get(host)
