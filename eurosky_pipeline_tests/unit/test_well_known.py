"""The DID at a handle's own web server: what is taken for one, where redirects may lead, and how long it may take."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.identity import fetch
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.well_known import MAX_BODY_BYTES, MAX_REDIRECTS, well_known_did
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited, ServerFault
from eurosky_pipeline.xrpc.host_policy import HostPolicy

HANDLE = "alice.bsky.social"
URL = f"https://{HANDLE}/.well-known/atproto-did"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PRIVATE_NAMES = {"inside.bsky.social": "10.0.0.7", "localhost": "127.0.0.1", "metadata.bsky.social": "169.254.169.254"}
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is a public server's but a few."""
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *arguments: object, **options: object) -> object:
        if host == "127.0.0.1":  # the servers of this file, which httpx connects to
            return real(host, port, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PRIVATE_NAMES.get(host, "93.184.216.34"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def ask(handler: Handler | httpx.BaseTransport, handle: str = HANDLE) -> str | None:
    transport = handler if isinstance(handler, httpx.BaseTransport) else httpx.MockTransport(handler)
    with httpx.Client(transport=transport, follow_redirects=True) as http:
        return well_known_did(Directory(http, HostPolicy(), "https://plc.example"), handle)


def saying(body: bytes, status: int = 200, **headers: str) -> Handler:
    return lambda _: httpx.Response(status, headers=headers, content=iter([body]))


def test_the_handles_own_server_is_asked_over_https() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, str(request.url), request.headers["accept-encoding"]))
        return saying(DID.encode())(request)

    assert ask(handle) == DID
    assert asked == [("GET", URL, "identity")]


@pytest.mark.parametrize(
    ("body", "did"),
    [
        (DID.encode(), DID),
        (f"\r\n\t {DID} \n".encode(), DID),
        (b"did:web:bsky.team", "did:web:bsky.team"),
        (f"did={DID}".encode(), None),
        (f"{DID}\n{DID}".encode(), None),
        (f"{DID} yes".encode(), None),
        (f'"{DID}"'.encode(), None),
        (f"\ufeff{DID}".encode(), None),
        (f"{DID}\u00a0".encode(), None),
        (DID.encode("utf-16"), None),
        (b"did:plc:short", None),
        (b"<!doctype html><title>not found</title>", None),
        (b"", None),
        (DID.encode() + b" " * MAX_BODY_BYTES, None),
    ],
)
def test_only_a_did_and_nothing_but_space_around_it_is_one(body: bytes, did: str | None) -> None:
    assert ask(saying(body)) == did


@pytest.mark.parametrize(("status", "did"), [(200, DID), (203, DID), (299, DID), (404, None), (403, None), (410, None)])
def test_only_a_success_counts(status: int, did: str | None) -> None:
    assert ask(saying(DID.encode(), status)) == did


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (500, ServerFault), (503, ServerFault), (408, ServerFault)]
)
def test_a_server_that_cannot_answer_now_may_later(status: int, kind: type) -> None:
    with pytest.raises(kind, match=f"the DID of {HANDLE}"):
        ask(saying(DID.encode(), status))


class Unread(httpx.Response):
    """As from the guarded transport: httpx does not look at where a redirect points."""

    has_redirect_location = False


def redirecting(*hops: str, last: bytes = DID.encode(), status: int = 302) -> tuple[Handler, list[str]]:
    """A network in which each URL asked leads to the next of `hops`, and the last one answers."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if len(asked) <= len(hops):
            return Unread(status, headers={"location": hops[len(asked) - 1]}, content=iter([DID.encode()]))
        return saying(last)(request)

    return handle, asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_relative_ones_too(status: int) -> None:
    handler, asked = redirecting("https://fed.brid.gy/did?id=alice", "/elsewhere", "did.txt", status=status)
    assert ask(handler) == DID
    assert asked == [
        URL,
        "https://fed.brid.gy/did?id=alice",
        "https://fed.brid.gy/elsewhere",
        "https://fed.brid.gy/did.txt",
    ]


def test_redirects_have_an_end() -> None:
    handler, asked = redirecting(*["https://fed.brid.gy/again"] * 50)
    assert ask(handler) is None
    assert len(asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "target",
    [
        "http://alice.bsky.social/did",
        "http://xn--a.bsky.social/did",
        "https://xn--a.bsky.social/did",
        "https://inside.bsky.social/did",
        "https://metadata.bsky.social/latest/",
        "https://localhost/did",
        "https://127.0.0.1/did",
        "https://[::1]/did",
        "https://2130706433/did",
        "https://user:password@fed.brid.gy/did",
        "//inside.bsky.social/did",
        "ftp://fed.brid.gy/did",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://a b/did",
        "https://fed.brid.gy:99999/did",
        "https://fed.brid.gy:22/did",
        "did:plc:x",
    ],
)
def test_a_redirect_cannot_lead_inside_or_away_from_https(target: str) -> None:
    handler, asked = redirecting(target)
    with pytest.raises(SettingsError) as caught:
        ask(handler)
    assert caught.value.code == "host_refused"
    assert "password" not in str(caught.value)
    assert asked == [URL]


@pytest.mark.parametrize("target", ["", "https://\x7f/", "https://[::g]/"])
def test_a_redirect_to_nowhere_is_no_answer(target: str) -> None:
    handler, asked = redirecting(target)
    assert ask(handler) is None
    assert asked == [URL]


def test_a_handle_that_leads_inside_is_not_asked() -> None:
    with pytest.raises(SettingsError) as caught:
        ask(lambda _: pytest.fail("it was asked"), "inside.bsky.social")
    assert caught.value.code == "host_refused"


class ToLoopback(httpx.BaseTransport):
    """Real sockets: what is meant for the handle's server goes to one on this machine, without its TLS."""

    def __init__(self, port: int) -> None:
        self._real, self._port = httpx.HTTPTransport(), port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return self._real.handle_request(request)

    def close(self) -> None:
        self._real.close()


@contextmanager
def server(*pieces: bytes, pause_s: float = 0.0, is_endless: bool = False) -> Iterator[ToLoopback]:
    """A real server that sends these bytes, a pause after each, the last one for ever if it is endless."""
    stop = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    stop.wait(pause_s)
                while is_endless and not stop.is_set():
                    self.wfile.write(pieces[-1])
                    stop.wait(pause_s)
            except OSError:
                pass  # the client has had enough

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield ToLoopback(running.server_address[1])
        finally:
            stop.set()
            running.shutdown()


def test_a_real_server_is_read() -> None:
    body = f"{DID}\n".encode()
    with server(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 33\r\n\r\n", body[:9], body[9:]
    ) as way:
        assert ask(way) == DID


def test_a_real_server_that_breaks_off_has_not_named_a_shorter_did() -> None:
    with (
        server(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\ndid:web:bsky.te") as way,
        pytest.raises(HostUnreachable, match="broke off"),
    ):
        ask(way)


def test_a_body_without_end_is_cut_off_by_its_size() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1024, is_endless=True) as way:
        assert ask(way) is None


def test_a_body_that_drips_is_cut_off_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TOTAL_TIMEOUT_S", 0.3)
    started = time.monotonic()
    with (
        server(b"HTTP/1.1 200 OK\r\n\r\n", b" ", pause_s=0.05, is_endless=True) as way,
        pytest.raises(HostUnreachable, match="takes too long"),
    ):
        ask(way)
    assert time.monotonic() - started < 20


def test_silence_is_cut_off_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SILENCE_TIMEOUT_S", 0.2)
    with server(b"HTTP/1.1 200 OK\r\n", pause_s=3) as way, pytest.raises(HostUnreachable, match="stopped answering"):
        ask(way)
