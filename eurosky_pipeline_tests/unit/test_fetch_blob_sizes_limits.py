"""The sizes of many blobs from a host with rate limits: kept, waited for, or raised; and waits that can be ended."""

from __future__ import annotations

import threading
import time
from itertools import count

import httpx
import pytest

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.fake_pds import FakePds
from eurosky_pipeline_tests.unit.sized_blobs import blobs, fetch, size_told, sizes_of


@pytest.fixture
def source() -> FakePds:
    return FakePds("old.example")


def test_one_refusal_holds_all_workers_back_and_does_not_become_five(source: FakePds) -> None:
    cids, number = blobs(source, 40), count(1)
    asked_at_s: list[float] = []
    refused_at_s: list[float] = []

    def fault(request: httpx.Request) -> httpx.Response | None:
        asked_at_s.append(time.monotonic())
        if next(number) == 11:
            refused_at_s.append(time.monotonic())
            return httpx.Response(429, headers={"retry-after": "0"}, content=iter([]))
        # so late that nobody asks twice while the refusal is on its way to those who must know of it
        is_just_refused = bool(refused_at_s) and time.monotonic() < refused_at_s[0] + 0.5
        time.sleep(0.4 if is_just_refused else 0.005)
        return size_told(source, request)

    source.faults["getBlob"] = fault
    assert fetch(source, cids).sizes == sizes_of(cids)
    others = [at_s for at_s in asked_at_s if refused_at_s[0] < at_s < refused_at_s[0] + 0.9]
    assert len(others) <= 4, "more than were under way"
    assert len(refused_at_s) == 1


def test_a_limit_is_kept_before_the_host_has_to_refuse(source: FakePds) -> None:
    cids, lock = blobs(source, 30), threading.Lock()
    window = {"began_s": 0.0, "used": 0, "refused": 0}

    def fault(request: httpx.Request) -> httpx.Response | None:
        with lock:
            now_s = time.monotonic()
            if now_s > window["began_s"] + 1:
                window.update(began_s=now_s, used=0)
            window["used"] += 1
            told = size_told(source, request)
            assert told is not None
            left = max(0, 20 - window["used"])
            told.headers.update({"ratelimit-limit": "20", "ratelimit-remaining": str(left), "ratelimit-reset": "1"})
            if window["used"] <= 20:
                return told
            window["refused"] += 1
            return httpx.Response(429, headers=told.headers, content=iter([]))

    source.faults["getBlob"] = fault
    assert fetch(source, cids).sizes == sizes_of(cids)
    assert window["refused"] == 0


@pytest.mark.parametrize("status", [200, 429])
def test_a_limit_that_lasts_for_hours_is_raised_with_its_end(source: FakePds, status: int) -> None:
    cids = blobs(source, 40)
    headers = {"ratelimit-limit": "1000", "ratelimit-remaining": "0", "ratelimit-reset": "7200"}

    def fault(request: httpx.Request) -> httpx.Response | None:
        told = size_told(source, request)
        assert told is not None
        return httpx.Response(status, headers={**told.headers, **headers}, content=iter([]))

    source.faults["getBlob"] = fault
    began_s = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        fetch(source, cids)
    assert caught.value.retry_after_s == pytest.approx(7200, abs=5)
    assert len(source.asked) <= 5
    assert time.monotonic() - began_s < 30


def test_a_host_that_refuses_for_ever_is_raised_and_not_taken_for_so_many_unknown_sizes(source: FakePds) -> None:
    cids = blobs(source, 40)
    source.faults["getBlob"] = lambda _: httpx.Response(429, content=iter([]))
    with pytest.raises(RateLimited):
        fetch(source, cids, retry=RetryPolicy(retries=0))
    assert len(source.asked) <= 5


def test_it_ends_at_once_when_it_is_asked_to_stop_while_it_waits(source: FakePds) -> None:
    cids, stop = blobs(source, 40), threading.Event()
    source.faults["getBlob"] = lambda _: httpx.Response(429, headers={"retry-after": "60"}, content=iter([]))
    threading.Timer(0.2, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(StoppedError):
        fetch(source, cids, stop=stop)
    assert time.monotonic() - began_s < 30


def test_who_is_asked_to_stop_asks_for_nothing(source: FakePds) -> None:
    cids, stop = blobs(source, 4), threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        fetch(source, cids, stop=stop)
    assert source.asked == []
