"""The cap on bytes: kept to by all threads together, both ways, and no reason to wait longer when asked to stop."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.bandwidth import BURST_S, Bandwidth
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient

NSID = "com.example.some.method"


class FakeTime:
    """A clock that goes on only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def clock(self) -> float:
        return self.now_s

    def pause(self, stop: threading.Event, seconds: float) -> bool:
        self.now_s += seconds
        return stop.is_set()


def test_bytes_take_the_time_that_they_take_at_that_speed() -> None:
    fake = FakeTime()
    bandwidth, stop = Bandwidth(1000, clock=fake.clock, pause=fake.pause), threading.Event()
    for _ in range(100):
        bandwidth.take(50, stop)
    assert fake.now_s - 1000 == pytest.approx(5.0)


def test_time_that_was_not_used_is_made_up_for_by_no_more_than_a_burst() -> None:
    fake = FakeTime()
    bandwidth, stop = Bandwidth(1000, clock=fake.clock, pause=fake.pause), threading.Event()
    fake.now_s += 3600
    for _ in range(20):
        bandwidth.take(50, stop)
    assert fake.now_s - 4600 == pytest.approx(1.0 - BURST_S)


def test_five_threads_together_keep_to_it_within_a_tenth_over_three_seconds() -> None:
    """No more, on any machine; how much less there is of it, a busy one decides too."""
    bandwidth, stop = Bandwidth(2_000_000), threading.Event()
    deadline_s = time.monotonic() + 3
    moved = [0] * 5

    def work(number: int) -> None:
        while time.monotonic() < deadline_s:
            bandwidth.take(65_536 if number % 2 else bandwidth.piece_bytes, stop)
            moved[number] += 65_536 if number % 2 else bandwidth.piece_bytes

    began_s = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    assert 0.5 < sum(moved) / (time.monotonic() - began_s) / 2_000_000 < 1.1
    assert min(moved) > 0


def test_who_is_asked_to_stop_waits_no_longer() -> None:
    bandwidth, stop = Bandwidth(1000), threading.Event()
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(StoppedError):
        bandwidth.take(1_000_000, stop)
    assert time.monotonic() - began_s < 30
    with pytest.raises(StoppedError):
        bandwidth.take(0, stop)


def test_a_slow_bandwidth_asks_for_small_pieces_so_that_no_host_falls_asleep() -> None:
    pieces = [Bandwidth(speed).piece_bytes for speed in (1024, 100_000, 1_000_000, 10**9)]
    assert pieces == [4096, 10_000, 100_000, 256 * 1024]


@pytest.mark.parametrize("way", ["down", "up", "both"])
def test_downloads_and_uploads_of_a_client_are_within_it(tmp_path: Path, way: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 500_000)

    def handle(request: httpx.Request) -> httpx.Response:
        size = len(request.read())
        assert size in (0, 500_000)
        return httpx.Response(200, content=iter([b"x" * 50_000] * 10 if not size else [b"{}"]))

    http = httpx.Client(transport=httpx.MockTransport(handle))
    fake = FakeTime()
    bandwidth = Bandwidth(1_000_000, clock=fake.clock, pause=fake.pause)
    client = XrpcClient(http, "https://pds.example", bandwidth=bandwidth)
    if way != "up":
        with client.download(NSID, {}) as download:
            assert sum(map(len, download.chunks)) == 500_000
    if way != "down":
        client.upload(NSID, UploadBody(path, 500_000, "image/png"))
    assert fake.now_s - 1000 == pytest.approx(1.0 if way == "both" else 0.5)


def test_json_is_not_counted() -> None:
    raw = b'{"a":"' + b"x" * 200_000 + b'"}'
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=iter([raw]))))
    client = XrpcClient(http, "https://pds.example", bandwidth=Bandwidth(1024))
    began_s = time.monotonic()
    client.query(NSID)
    assert time.monotonic() - began_s < 30


def test_the_time_that_it_takes_is_not_held_against_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eurosky_pipeline.xrpc.speed.PATIENCE_S", 0.4)
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=iter([b"x" * 512] * 5))))
    client = XrpcClient(http, "https://pds.example", bandwidth=Bandwidth(4096))
    with client.download(NSID, {}) as download:
        assert sum(map(len, download.chunks)) == 2560
