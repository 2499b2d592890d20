"""Workers over one stream of items: how many at once, how far ahead, and how they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from eurosky_pipeline.xrpc.workers import Stop, run_workers


def test_every_item_is_worked_on_exactly_once() -> None:
    assert sorted(run_workers(range(100), lambda n: n * n, workers=5, stop=threading.Event())) == [
        n * n for n in range(100)
    ]


def test_no_items_are_no_error() -> None:
    assert list(run_workers([], str, workers=5, stop=threading.Event())) == []


def test_as_many_at_once_as_there_are_workers_and_no_more() -> None:
    barrier, lock = threading.Barrier(5, timeout=30), threading.Lock()
    now = most = 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        barrier.wait()  # passes only if five are here together
        with lock:
            now -= 1

    list(run_workers(range(20), work, workers=5, stop=threading.Event()))
    assert most == 5


def test_a_slow_item_does_not_hold_up_the_others() -> None:
    release = threading.Event()
    finished: list[int] = []
    for result in run_workers(
        range(20), lambda n: (release.wait(30) and n) if n == 0 else n, workers=2, stop=threading.Event()
    ):
        finished.append(result)
        if len(finished) == 19:
            release.set()
    assert finished[-1] == 0


def test_a_long_list_is_not_read_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(10_000):
            taken = n + 1
            yield n

    results = run_workers(items(), lambda n: n, workers=5, stop=threading.Event())
    next(results)
    assert taken <= 15
    results.close()


def test_a_failure_ends_the_others_and_comes_out_after_what_had_succeeded() -> None:
    stop = threading.Event()

    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        if n > 3:
            stop.wait(60)
        return n

    seen: list[int] = []
    started_s = time.monotonic()
    with pytest.raises(ValueError, match="three"):
        seen.extend(run_workers(range(100), work, workers=3, stop=stop))
    assert stop.is_set()
    assert time.monotonic() - started_s < 30
    assert len(seen) < 20


def test_closing_it_early_sets_stop_and_joins_the_threads() -> None:
    stop = threading.Event()
    before = set(threading.enumerate())
    results = run_workers(range(100), lambda n: stop.wait(60) if n else n, workers=4, stop=stop)
    assert next(results) == 0
    results.close()
    assert stop.is_set()
    assert set(threading.enumerate()) <= before


def test_after_a_failure_the_stop_can_be_waited_on_again() -> None:
    stop, seen, both = Stop(), [], threading.Barrier(2, timeout=30)

    def work(n: int) -> None:
        both.wait()
        if n == 0:
            raise ValueError("the first")
        seen.append(stop.wait(30))  # ends at once, since the first has failed

    with pytest.raises(ValueError, match="the first"):
        list(run_workers(range(2), work, workers=2, stop=stop))
    assert seen == [True]
    assert not stop.is_set()


def test_a_caller_that_leaves_lifts_what_it_halted() -> None:
    stop = Stop()
    running = run_workers(range(9), str, workers=2, stop=stop)
    next(running)
    running.close()
    assert not stop.is_set()


def test_what_was_stopped_for_good_meanwhile_stays_stopped() -> None:
    stop = Stop()

    def work(_: int) -> None:
        stop.set()  # as the loss of the lease does
        raise ValueError

    with pytest.raises(ValueError):
        list(run_workers(range(1), work, workers=1, stop=stop))
    assert stop.is_set()


def test_after_an_error_that_is_no_hurry_what_is_under_way_goes_on_to_its_end_and_nothing_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, begun, ended, both = Stop(), [], [], threading.Barrier(2, timeout=30)
    is_known, shutdown = threading.Event(), ThreadPoolExecutor.shutdown

    def work(n: int) -> None:
        begun.append(n)
        if n < 2:
            both.wait()
        if n == 0:
            raise LookupError("no more for today")
        is_known.wait(30)  # who ends sooner may begin another, and that one another
        if not stop.is_set():
            ended.append(n)

    def known(self: ThreadPoolExecutor, *, wait: bool, cancel_futures: bool = False) -> None:
        shutdown(self, wait=False, cancel_futures=cancel_futures)
        is_known.set()
        shutdown(self, wait=wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", known)
    with pytest.raises(LookupError):
        list(run_workers(range(50), work, workers=2, stop=stop, finish_on=(LookupError,)))
    assert 1 in ended
    assert sorted(ended) == sorted(begun)[1:]  # all but the one that failed
    assert len(begun) <= 3  # which may have begun another before anybody knew
    assert not stop.is_set()


def test_an_interruption_of_that_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, seen, shutdown = Stop(), [], ThreadPoolExecutor.shutdown
    both, calls = threading.Barrier(2, timeout=30), []

    def work(n: int) -> None:
        both.wait()
        if n == 0:
            raise LookupError
        seen.append(stop.wait(30))

    def interrupted_once(self: ThreadPoolExecutor, **arguments: bool) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        shutdown(self, **arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        list(run_workers(range(2), work, workers=2, stop=stop, finish_on=(LookupError,)))
    assert seen == [True]
