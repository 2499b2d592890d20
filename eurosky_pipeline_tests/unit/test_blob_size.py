"""The size of one blob: HEAD, then GET, then counting; and what a host says that cannot be a size."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.errors import EuroskyError, IntegrityError, StoppedError
from eurosky_pipeline.xrpc.blob_size import blob_size
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import (
    AnswerInvalid,
    BlobNotFound,
    BlobTakenDown,
    BlobTooLarge,
    HostUnreachable,
    RateLimited,
    RepoUnavailable,
    RequestRefused,
    ServerFault,
)
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.loopback import read_head, serving

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
DATA = b"x" * 5000
CID = cid_of(DATA, CODEC_RAW)
NOT_FOUND = (400, {"error": "InvalidRequest", "message": "Blob not found"})
Headers = dict[str, str]


class Host:
    """Answers HEAD and GET as it is told, and remembers how much of its body was read."""

    def __init__(self, head: tuple[int, Headers], get: tuple[int, Headers | dict] = (500, {}), body: bytes = DATA):
        self.head, self.get, self.body = head, get, body
        self.asked: list[str] = []
        self.sent_bytes = 0

    @property
    def client(self) -> XrpcClient:
        return XrpcClient(httpx.Client(transport=httpx.MockTransport(self)), "https://pds.example")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"did": DID, "cid": str(CID)}
        assert request.headers["accept-encoding"] == "identity"
        self.asked.append(request.method)
        status, headers = self.head if request.method == "HEAD" else self.get
        if request.method == "HEAD":
            return httpx.Response(status, headers=headers, content=iter([]))
        if status != 200:
            return httpx.Response(status, content=iter([json.dumps(headers).encode()]))
        return httpx.Response(200, headers=headers, content=self._body())

    def _body(self) -> Iterator[bytes]:
        for at in range(0, len(self.body), 1000):
            self.sent_bytes += len(self.body[at : at + 1000])
            yield self.body[at : at + 1000]


def size(host: Host, max_bytes: int = 10_000, stop: threading.Event | None = None) -> int:
    return blob_size(host.client, DID, CID, max_bytes=max_bytes, stop=stop or threading.Event())


def told(size_bytes: object, **more: str) -> tuple[int, Headers]:
    return 200, {"content-length": str(size_bytes), **more}


@pytest.mark.parametrize("size_bytes", [1, 5000, 2**53 - 1])
def test_head_is_enough_where_it_tells(size_bytes: int) -> None:
    assert size(host := Host(told(size_bytes))) == size_bytes
    assert host.asked == ["HEAD"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500, 501, 502, 302, 204, 206])
def test_what_head_refuses_without_a_reason_get_may_tell(status: int) -> None:
    assert size(host := Host((status, {"content-length": "7"}), told(5000))) == 5000
    assert (host.asked, host.sent_bytes) == (["HEAD", "GET"], 0)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"content-length": "0"},
        {"content-length": str(2**53)},
        {"content-length": "9" * 30},
        {"content-length": "-5"},
        {"content-length": "5e3"},
        {"content-length": "70", "content-encoding": "gzip"},
    ],
)
def test_what_head_tells_that_is_no_size_get_may_tell(head: Headers) -> None:
    assert size(host := Host((200, head), told(5000))) == 5000
    assert (host.asked, host.sent_bytes) == (["HEAD", "GET"], 0)


def test_a_size_of_what_is_sent_as_it_is_is_one() -> None:
    assert size(Host(told(5000, **{"content-encoding": "Identity"}))) == 5000


@pytest.mark.parametrize("get", [{}, {"content-length": "many"}, {"content-length": "9", "content-encoding": "br"}])
def test_a_body_whose_size_nobody_tells_is_counted_and_hashed(get: Headers) -> None:
    assert size(host := Host((405, {}), (200, get))) == 5000
    assert host.sent_bytes == 5000


def test_a_body_that_is_not_the_blobs_has_no_size() -> None:
    with pytest.raises(IntegrityError, match=r"sent 4000 bytes for blob .* that do not hash to it"):
        size(Host((405, {}), (200, {}), DATA[:4000]))


def test_a_body_that_has_to_be_counted_is_bounded() -> None:
    host = Host((405, {}), (200, {}))
    with pytest.raises(BlobTooLarge, match="sends more than 2500 bytes") as caught:
        size(host, max_bytes=2500)
    assert "EUROSKY_MAX_BLOB_BYTES" in caught.value.hint
    assert host.sent_bytes == 3000


def test_counting_ends_when_it_is_asked_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    host = Host((405, {}), (200, {}))
    with pytest.raises(StoppedError):
        size(host, stop=stop)
    assert host.sent_bytes == 1000


@pytest.mark.parametrize("size_bytes", [0, 2**53])
def test_a_size_that_no_record_may_hold_is_none(size_bytes: int) -> None:
    with pytest.raises(AnswerInvalid, match=f"says that blob {CID} has {size_bytes} bytes, and no blob can"):
        size(Host((404, {}), told(size_bytes)))


@pytest.mark.parametrize(
    ("get", "kind"),
    [
        (NOT_FOUND, BlobNotFound),
        ((404, {"error": "BlobNotFound"}), BlobNotFound),
        ((400, {"error": "BlobTakendown", "message": "Blob has been takendown"}), BlobTakenDown),
        ((400, {"error": "RepoDeactivated"}), RepoUnavailable),
        ((401, {"error": "AuthenticationRequired"}), RequestRefused),
        ((500, {}), ServerFault),
        ((403, {}), RequestRefused),
        ((206, {}), AnswerInvalid),
    ],
)
def test_why_a_blob_is_not_given_out_get_tells(get: tuple[int, dict], kind: type[EuroskyError]) -> None:
    with pytest.raises(kind):
        size(Host((get[0], {}), get))


def test_a_rate_limit_is_not_asked_about_a_second_time() -> None:
    host = Host((429, {"retry-after": "7"}), told(5000))
    with pytest.raises(RateLimited) as caught:
        size(host)
    assert (caught.value.retry_after_s, host.asked) == (7, ["HEAD"])


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(2, HostPolicy(is_private_allowed=True)) as client:
        yield client


def wire(http: httpx.Client, url: str) -> int:
    return blob_size(XrpcClient(http, url), DID, CID, max_bytes=10_000, stop=threading.Event())


def sending(*heads: str, body: bytes = b"") -> Callable[[socket.socket], None]:
    """Answer the requests of one connection, one after the other, with these heads; a GET gets the body too."""

    def handle(connection: socket.socket) -> None:
        for head in heads:
            asked = read_head(connection)
            connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + (b"" if asked.startswith("head") else body))

    return handle


def test_a_connection_is_kept_from_head_to_head(http: httpx.Client) -> None:
    with serving(sending(*["200 OK\r\nContent-Length: 5000"] * 3)) as server:
        assert [wire(http, server.url) for _ in range(3)] == [5000] * 3
        assert server.connections == 1


def test_a_body_in_chunks_is_counted_on_the_wire(http: httpx.Client) -> None:
    chunked = "200 OK\r\nTransfer-Encoding: chunked"
    body = f"{len(DATA):x}\r\n".encode() + DATA + b"\r\n0\r\n\r\n"
    with serving(sending(chunked, chunked, body=body)) as server:
        assert wire(http, server.url) == 5000


def test_a_body_in_chunks_that_breaks_off_has_no_size(http: httpx.Client) -> None:
    chunked = "200 OK\r\nTransfer-Encoding: chunked"
    with (
        serving(sending(chunked, chunked, body=f"{len(DATA):x}\r\n".encode() + DATA)) as server,
        pytest.raises(HostUnreachable),
    ):
        wire(http, server.url)


@pytest.mark.parametrize("length", ["-5", "5, 6", "0x10", "5 000"])
def test_a_length_that_is_none_is_no_answer_at_all(http: httpx.Client, length: str) -> None:
    with serving(sending(f"200 OK\r\nContent-Length: {length}")) as server, pytest.raises(HostUnreachable):
        wire(http, server.url)


def test_a_large_blob_is_not_read_for_its_size(http: httpx.Client) -> None:
    sent_bytes = 0

    def handle(connection: socket.socket) -> None:
        nonlocal sent_bytes
        while asked := read_head(connection):
            is_head = asked.startswith("head")
            status = "405 No" if is_head else "200 OK"
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {0 if is_head else 10**9}\r\n\r\n".encode())
            while not is_head:
                connection.sendall(b"x" * 65536)  # until the client hangs up
                sent_bytes += 65536

    with serving(handle) as server:
        assert wire(http, server.url) == 10**9
    assert sent_bytes < 50 * 2**20
