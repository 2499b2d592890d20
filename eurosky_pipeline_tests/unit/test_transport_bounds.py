"""Answers that are large, slow or endless where no body is: heads, 1xx answers, chunk sizes, trailers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.xrpc import bodies, connection, speed
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.connection import MAX_HEAD_BYTES
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, RequestRefused
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.loopback import Handler, read_head, serving

NSID = "com.example.some.method"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(1, HostPolicy(is_private_allowed=True)) as client:
        client.timeout = httpx.Timeout(5)
        yield client


class Endless:
    """Send a start and then the same piece again and again, until the client hangs up; count what it took."""

    def __init__(self, start: bytes, piece: bytes, pause_s: float = 0) -> None:
        self.start, self.piece, self.pause_s, self.sent_bytes = start, piece, pause_s, 0

    def __call__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        read_head(connection)
        connection.sendall(self.start)
        while True:
            connection.sendall(self.piece)
            self.sent_bytes += len(self.piece)
            time.sleep(self.pause_s)


def sending(raw: bytes) -> Handler:
    def send(connection: socket.socket) -> None:
        while read_head(connection):
            connection.sendall(raw)

    return send


ENDLESS = {
    "a header line": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X-1: a\r\n"),
    "header lines without a name": (b"HTTP/1.1 200 OK\r\n", b":\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"O"),
    "answers that go before": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "a chunk's extension": (CHUNKED + b"1;x=", b"a"),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"X-1: a\r\n"),
    "digits of a chunk's size": (CHUNKED, b"0"),
}


@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_what_is_no_body_is_not_read_without_end(http: httpx.Client, start: bytes, piece: bytes) -> None:
    endless = Endless(start, piece * 100)
    what = rf"127\.0\.0\.1 sent more than {MAX_HEAD_BYTES} bytes of headers"
    with serving(endless) as server, pytest.raises(AnswerInvalid, match=what):
        XrpcClient(http, server.url).query(NSID)
    assert endless.sent_bytes < 20 * 2**20  # the rest of it stood in the system's buffers


@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_what_is_no_body_is_not_waited_for_without_end(
    http: httpx.Client, start: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.3)
    started_s = time.monotonic()
    slow = Endless(start, piece, pause_s=0.02)
    with serving(slow) as server, pytest.raises(HostUnreachable, match="stopped answering"):
        XrpcClient(http, server.url).query(NSID)
    assert time.monotonic() - started_s < 20


def test_a_megabyte_of_headers_is_refused_though_it_ends(http: httpx.Client) -> None:
    raw = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**20 + b"\r\nContent-Length: 2\r\n\r\n{}"
    with serving(sending(raw)) as server, pytest.raises(AnswerInvalid, match="bytes of headers"):
        XrpcClient(http, server.url).query(NSID)


def test_a_head_may_be_as_large_as_the_bound_each_time(http: httpx.Client) -> None:
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 300007\r\nX: ", b"\r\n\r\n"
    head = start + b"a" * (MAX_HEAD_BYTES - len(start) - len(end)) + end
    with serving(sending(head + json.dumps({"a": "x" * 299_998}, separators=(",", ":")).encode() + b" ")) as server:
        client = XrpcClient(http, server.url)
        for _ in range(3):
            assert len(client.query(NSID)["a"]) == 299_998
        assert server.connections == 1


def test_a_long_body_in_small_chunks_is_a_body(http: httpx.Client) -> None:
    body = b"".join(b"40;ext=1\r\n" + b"abcd" * 16 + b"\r\n" for _ in range(20_000)) + b"0\r\nX-Sum: 1\r\n\r\n"
    with serving(sending(CHUNKED + body)) as server, XrpcClient(http, server.url).download(NSID, {}) as download:
        assert b"".join(download.chunks) == b"abcd" * 320_000


def test_a_body_in_crumbs_is_given_up(http: httpx.Client) -> None:
    body = b"".join(b"4\r\nabcd\r\n" for _ in range(bodies.PIECES_FORGIVEN + 100)) + b"0\r\n\r\n"
    with (
        serving(sending(CHUNKED + body)) as server,
        XrpcClient(http, server.url).download(NSID, {}) as download,
        pytest.raises(AnswerInvalid, match="crumbs"),
    ):
        list(download.chunks)


def test_a_body_that_comes_too_slowly_is_given_up(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE_S", 0.3)

    def dribble(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with suppress(OSError):
            for _ in range(100):
                time.sleep(0.05)
                connection.sendall(b"x")

    with (
        serving(dribble) as server,
        XrpcClient(http, server.url).download(NSID, {}) as download,
        pytest.raises(HostUnreachable, match="too slowly"),
    ):
        list(download.chunks)


@pytest.mark.parametrize("status", [b"202 Accepted", b"204 No Content", b"206 Partial Content"])
def test_a_success_that_is_no_whole_body_is_none(http: httpx.Client, status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    with (
        serving(sending(answer)) as server,
        pytest.raises(AnswerInvalid, match="no whole body"),
        XrpcClient(http, server.url).download(NSID, {}),
    ):
        pass


def test_a_body_that_takes_longer_than_a_head_may_is_a_body(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)

    def dribble(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.05)
            connection.sendall(b"x")

    with serving(dribble) as server, XrpcClient(http, server.url).download(NSID, {}) as download:
        assert b"".join(download.chunks) == b"x" * 10


def test_a_host_may_think_for_longer_than_its_head_may_take(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.1)

    def think(connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(0.4)
        connection.sendall(OK)

    with serving(think) as server:
        assert XrpcClient(http, server.url).query(NSID) == {}


@pytest.mark.parametrize(
    "head",
    [
        *("Content-Length: " + "9" * 21, "Content-Length: " + "9" * 5000, "Content-Length: 2\r\nContent-Length: 3"),
        *("Content-Length: 2, 3", "Content-Length: 0x2", "Content-Length: +2", "Content-Length: 2 2"),
        *("Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: identity"),
        *("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Bad Name: 1", "X: a\x00b", " folded: 1"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_not_read(http: httpx.Client, head: str) -> None:
    with (
        serving(sending(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{{}}".encode())) as server,
        pytest.raises(HostUnreachable, match="broke off its answer"),
    ):
        XrpcClient(http, server.url).query(NSID)


@pytest.mark.parametrize("size", ["-1", "0x5", "5 5", "g", "", "1" * 21, "١"])
def test_a_chunk_of_no_size_is_no_chunk(http: httpx.Client, size: str) -> None:
    with (
        serving(sending(CHUNKED + size.encode() + b"\r\n{}   \r\n0\r\n\r\n")) as server,
        pytest.raises(EuroskyError) as caught,
    ):
        XrpcClient(http, server.url).query(NSID)
    assert isinstance(caught.value, HostUnreachable | AnswerInvalid)


def test_a_body_that_is_announced_beyond_any_disk_is_bounded_as_any_other(http: httpx.Client) -> None:
    def send(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\nabc")

    with serving(send) as server, XrpcClient(http, server.url).download(NSID, {}) as download:
        assert download.size_bytes is None
        with pytest.raises(HostUnreachable, match="broke off its answer"):
            b"".join(download.chunks)


@pytest.mark.parametrize("status", ["101 Switching Protocols", "300 Several", "304 Not Modified", "600 What", "999 No"])
def test_an_answer_of_an_odd_kind_is_a_typed_error(http: httpx.Client, status: str) -> None:
    raw = f"HTTP/1.1 {status}\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n".encode()
    with serving(sending(raw)) as server, pytest.raises(EuroskyError) as caught:
        XrpcClient(http, server.url).query(NSID)
    assert isinstance(caught.value, RequestRefused | HostUnreachable), repr(caught.value)


@pytest.mark.parametrize("status", ["099 Low", "1000 High", "2O0 Letter", "-20 Minus"])
def test_a_status_that_is_none_is_no_answer(http: httpx.Client, status: str) -> None:
    raw = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with serving(sending(raw)) as server, pytest.raises(HostUnreachable, match="broke off its answer"):
        XrpcClient(http, server.url).query(NSID)


def test_what_came_after_the_last_body_does_not_count_for_the_next_head(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.3)

    def end_late_and_think(connection: socket.socket) -> None:
        while read_head(connection):
            time.sleep(0.4)
            connection.sendall(CHUNKED + b"2\r\n{}\r\n")
            time.sleep(0.1)
            connection.sendall(b"0\r\n\r\n")

    with serving(end_late_and_think) as server:
        assert [XrpcClient(http, server.url).query(NSID) for _ in range(3)] == [{}, {}, {}]
        assert server.connections == 1


def test_a_head_that_comes_in_pieces_has_the_same_bound(http: httpx.Client) -> None:
    def send(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000)
        time.sleep(0.3)
        connection.sendall(b"a" * 40_000 + b"\r\nContent-Length: 2\r\n\r\n{}")

    with serving(send) as server, pytest.raises(AnswerInvalid, match="bytes of headers"):
        XrpcClient(http, server.url).query(NSID)
