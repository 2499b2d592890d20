"""The pace at which a host is asked: one object a host, shared by all threads that ask it.

It is fed with the headers of every answer and asked before every request. So all slow down before the host refuses;
and where it does refuse (429), that one refusal holds back everybody, and then one request alone finds out whether
the host is willing again.

      remaining
        │████████                 many left: at full speed
        │████████████▒▒▒▒▒▒▒▒     few left: spread evenly over the time to the reset
        └────────────────────┴──  none left: nobody asks until the reset
                           reset

Limits differ by endpoint, so each endpoint has a pace of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline.xrpc.rate_limit import RateLimit, rate_limit_of, retry_after_s

FIRST_HOLD_S = 8.0
"""After a refusal that does not say for how long; twice as long after each further one."""
GRACE_S = 1.0
"""Hosts tell the end of a wait in whole seconds, rounded down."""
LONGEST_STEP_S = 5.0
"""Between two requests that are spread. With more between them, a window of a day would be crept through: what is
left is used up instead, and then the wait is known for what it is."""
FEW_SHARE = 10
"""Few are left when it is the tenth part of the limit, or less."""
_FEW = 50
"""The same where the limit is not told."""
ALONE_S = 8.0
"""How long, after a refusal, the one request that finds out for all has for it before another one may try."""
_SAME_WINDOW_S = 2.0
"""Resets that are told in whole seconds, by two answers, are the same when they differ by no more."""
_LOOK_AGAIN_S = 0.1
_MOST_DOUBLED = 10

Pause = Callable[[threading.Event, float], bool]
"""Wait for so many seconds, or until the event is set; whether it is."""

OnWait = Callable[[str], None]
"""Told, in a person's words, of a wait for a host's limit, by whichever thread is going to wait."""
_WORTH_TELLING_S = 1.0


@dataclass(slots=True)
class _Endpoint:
    """What is known of one endpoint's limit; the moments are on the pace's clock.

    `remaining` is the least that an answer of this window told. A host counts a request when it comes, and answers
    uploads long after, in any order: what was answered is in that number, and of what is under way nobody knows. So as
    much is left as `remaining` less `under_way`; at the least, and exactly when all are answered.
    """

    under_way: int = 0
    told: RateLimit | None = None
    remaining: int = 0
    resets_at_s: float = 0.0
    begun_at_s: float = 0.0
    next_at_s: float = 0.0
    held_until_s: float = 0.0
    refusals: int = 0
    holds: int = 0

    def wait_s(self, now_s: float, longest_step_s: float) -> tuple[float, bool]:
        """How long to wait before the next request, and whether it is for the host's limit to end."""
        if now_s < self.held_until_s:
            return self.held_until_s - now_s, True
        if self.refusals and self.under_way and now_s < self.begun_at_s + ALONE_S:
            return _LOOK_AGAIN_S, False  # until the one that is under way has found out
        if self._is_open(now_s):
            return 0.0, False
        if self.remaining <= 0:
            return self.resets_at_s + GRACE_S - now_s, True
        if self.remaining <= self.under_way:
            return _LOOK_AGAIN_S, False  # until an answer tells whether any is left
        is_spread = 0.0 < self._step_s(now_s) <= longest_step_s
        return (max(0.0, self.next_at_s - now_s) if is_spread else 0.0), False

    def begin(self, now_s: float) -> None:
        self.next_at_s = now_s + self._step_s(now_s)
        self.begun_at_s = now_s
        self.under_way += 1

    def _is_open(self, now_s: float) -> bool:
        return self.told is None or now_s >= self.resets_at_s + GRACE_S

    def _step_s(self, now_s: float) -> float:
        """Between two requests, so that what is left lasts until the reset; 0 while there is plenty."""
        left = self.remaining - self.under_way
        if self._is_open(now_s) or self.told is None or left <= 0:
            return 0.0
        few = _FEW if self.told.limit is None else self.told.limit // FEW_SHARE
        return max(0.0, self.resets_at_s - now_s) / left if left <= few else 0.0

    def heed(self, told: RateLimit, now_s: float) -> None:
        resets_at_s = now_s + told.reset_s
        is_same_window = now_s < self.resets_at_s and abs(resets_at_s - self.resets_at_s) <= _SAME_WINDOW_S
        self.remaining = min(self.remaining, told.remaining) if self.told and is_same_window else told.remaining
        self.told, self.resets_at_s = told, resets_at_s

    def hold(self, told_s: float | None, now_s: float) -> None:
        hold_s = FIRST_HOLD_S * 2 ** min(self.refusals - 1, _MOST_DOUBLED) if told_s is None else told_s + GRACE_S
        self.held_until_s = max(self.held_until_s, now_s + hold_s)


class Turn:
    """Leave to send one request; its answer's status and headers are to be given to `heed`, which ends it."""

    def __init__(self, pace: HostPace, endpoint: _Endpoint, on_wait: OnWait) -> None:
        self._pace = pace
        self._on_wait = on_wait
        self._endpoint = endpoint
        self._holds_seen = endpoint.holds
        self._is_over = False

    def heed(self, status: int, headers: Mapping[str, str]) -> None:
        """429 is for every refusal for having asked too often, whichever status it came with."""
        hold_s = self._pace._heed(self, status, headers)
        if hold_s is not None:  # now, as all threads may have been refused, and wait elsewhere
            self._on_wait(_told(self._pace.host, hold_s))

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._endpoint.under_way -= 1


class HostPace:
    """How fast one host may be asked. Threads, and clients of the host, share it.

    Args:
        host: for messages.
        max_wait_s: a host's limit that lasts longer is not waited for.
        clock, pause: stand in for time, in tests.
    """

    def __init__(
        self,
        host: str,
        *,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = threading.Event.wait,
    ) -> None:
        self.host = host
        self.max_wait_s = max_wait_s
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._endpoints: dict[str, _Endpoint] = {}

    @contextmanager
    def turn(self, nsid: str, stop: threading.Event, on_wait: OnWait = lambda _: None) -> Iterator[Turn]:
        """Wait until the host may be asked for `nsid`; the turn lasts until its answer is heeded, or the block ends.

        Args:
            on_wait: told of each wait for the host's limit to end, before it; not of one that is over in a moment.

        Raises:
            RateLimited: that would be in more than `max_wait_s`; `retry_after_s` says when.
            StoppedError: `stop` is set, or was while this waited.
        """
        turn = self._wait(nsid, stop, on_wait)
        try:
            yield turn
        finally:
            with self._lock:
                turn._end()

    def _wait(self, nsid: str, stop: threading.Event, on_wait: OnWait) -> Turn:
        is_stopped = stop.is_set()
        while not is_stopped:
            with self._lock:
                endpoint, now_s = self._endpoints.setdefault(nsid, _Endpoint()), self._clock()
                wait_s, is_limited = endpoint.wait_s(now_s, min(LONGEST_STEP_S, self.max_wait_s))
                if wait_s <= 0:
                    endpoint.begin(now_s)
                    return Turn(self, endpoint, on_wait)
            if is_limited and wait_s > self.max_wait_s:
                raise RateLimited(
                    f"{self.host} allows no more of {nsid} for {wait_s:.0f} s, and at most {self.max_wait_s:.0f} s are "
                    "waited for that",
                    hint="run it again then, or raise EUROSKY_MAX_WAIT_S",
                    retry_after_s=wait_s,
                )
            if is_limited and wait_s >= _WORTH_TELLING_S:
                on_wait(_told(self.host, wait_s))
            is_stopped = self._pause(stop, wait_s)
        raise StoppedError(f"asked to stop before {self.host} was asked for {nsid}")

    def _heed(self, turn: Turn, status: int, headers: Mapping[str, str]) -> float | None:
        """Returns: how long nobody asks now, where this answer is why, and it is waited for."""
        told = rate_limit_of(headers)
        with self._lock:
            endpoint, now_s = turn._endpoint, self._clock()
            turn._end()
            if told is not None:
                endpoint.heed(told, now_s)
            is_news = turn._holds_seen == endpoint.holds  # and no answer to what was under way when the hold began
            if status == 429:
                if is_news:
                    endpoint.holds += 1
                    endpoint.refusals += 1
                endpoint.hold(retry_after_s(headers), now_s)
                hold_s = endpoint.held_until_s - now_s
                return hold_s if is_news and _WORTH_TELLING_S <= hold_s <= self.max_wait_s else None
            if is_news:
                endpoint.refusals = 0
            return None


def _told(host: str, wait_s: float) -> str:
    return f"waiting {wait_s:.0f} s for {host}'s rate limit"
