"""The pace of a host that several threads ask at once, on a clock that goes a hundred times as fast."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from eurosky_pipeline.xrpc.pacing import HostPace

NSID = "com.atproto.sync.getBlob"
STOP = threading.Event()


class FastTime:
    """A clock that goes a hundred times as fast, for threads."""

    def clock(self) -> float:
        return time.monotonic() * 100

    def pause(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds / 100)


class Host:
    """A host with a fixed window; it tells the limit with every answer, and the number of those that it refused."""

    def __init__(self, clock, limit: int, window_s: float, *, tells: bool = True) -> None:
        self._clock, self._limit, self._window_s, self._tells = clock, limit, window_s, tells
        self._began_s, self._used = -1e9, 0
        self._lock = threading.Lock()
        self.refusals = 0

    def answer(self) -> tuple[int, dict[str, str]]:
        with self._lock:
            now_s = self._clock()
            if now_s >= self._began_s + self._window_s:
                self._began_s, self._used = now_s, 0
            self._used += 1
            reset_s = self._began_s + self._window_s - now_s
            headers = limit(self._limit, max(0, self._limit - self._used), int(reset_s)) if self._tells else {}
            if self._used <= self._limit:
                return 200, headers
            self.refusals += 1
            return 429, headers


def limit(most: int, remaining: int, reset_s: float) -> dict[str, str]:
    return {
        "ratelimit-limit": str(most),
        "ratelimit-remaining": str(remaining),
        "ratelimit-reset": str(reset_s),
    }


def paced(fast: FastTime) -> HostPace:
    return HostPace("pds.example", max_wait_s=120, clock=fast.clock, pause=fast.pause)


def test_after_a_refusal_one_request_alone_finds_out_for_all() -> None:
    """Five threads, and a host that refuses its first two requests without saying for how long."""
    fast, lock = FastTime(), threading.Lock()
    pace = paced(fast)
    with pace.turn(NSID, STOP) as turn:
        turn.heed(429, {})
    begun: list[int] = []
    under_way = most_before_the_answer = 0
    statuses = [429, 200]

    def worker(_: int) -> None:
        nonlocal under_way, most_before_the_answer
        with pace.turn(NSID, STOP) as turn:
            with lock:
                begun.append(1)
                under_way += 1
                if statuses:
                    most_before_the_answer = max(most_before_the_answer, under_way)
            time.sleep(0.02)
            with lock:
                under_way -= 1
                status = statuses.pop(0) if statuses else 200
            turn.heed(status, {})

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(worker, range(6)))
    assert (len(begun), most_before_the_answer) == (6, 1)


@pytest.mark.parametrize("workers", [1, 5, 16])
def test_a_host_that_tells_its_limit_never_has_to_refuse(workers: int) -> None:
    fast = FastTime()
    host, pace = Host(fast.clock, limit=60, window_s=60), paced(fast)

    def worker(_: int) -> None:
        with pace.turn(NSID, STOP) as turn:
            time.sleep(0.001)
            turn.heed(*host.answer())

    began_s = fast.clock()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(worker, range(150)))
    assert host.refusals == 0
    assert 120 <= fast.clock() - began_s < 1200  # 150 in windows of 60, with what waking up late costs at this speed


def test_a_host_that_does_not_tell_its_limit_refuses_few_and_not_all() -> None:
    fast = FastTime()
    host, pace = Host(fast.clock, limit=20, window_s=30, tells=False), paced(fast)

    def worker(_: int) -> None:
        status = 429
        while status == 429:
            with pace.turn(NSID, STOP) as turn:
                time.sleep(0.001)
                status, headers = host.answer()
                turn.heed(status, headers)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(worker, range(60)))
    assert 2 <= host.refusals <= 2 * (5 + 2)  # at the end of each of two windows: what is under way, and who finds out
