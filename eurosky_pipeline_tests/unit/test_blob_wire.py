"""Blobs over a real connection: hosts that take or give bytes slowly, that think long, or lie about the length."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpcore
import httpx
import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.xrpc import bodies, connection, speed, transport
from eurosky_pipeline.xrpc.bodies import answer_timeout_s
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.connection import BoundedStream
from eurosky_pipeline.xrpc.errors import BlobTooLarge, HostUnreachable
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.resolver import Endpoint
from eurosky_pipeline.xrpc.retry import RetryPolicy
from eurosky_pipeline_tests.loopback import Handler, read_head, server_tls, serving

NSID = "com.atproto.repo.uploadBlob"
GET_BLOB = "com.atproto.sync.getBlob"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
MB = 2**20


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(2, HostPolicy(is_private_allowed=True)) as client:
        client.timeout = httpx.Timeout(20)
        yield client


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789abcdef" * (20 * MB // 16))
    return path


def read_nothing(connection: socket.socket) -> None:
    """Take the head and what fits into the system's buffers."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    read_head(connection)
    _until_hung_up(connection)


def read_all_and_think(connection: socket.socket) -> None:
    read_head(connection)
    read_most(connection)
    _until_hung_up(connection)


def read_most(connection: socket.socket) -> None:
    """All that fits: what came together with the head is not counted."""
    taken = 0
    while taken < 20 * MB - 65536 and (piece := connection.recv(MB)):
        taken += len(piece)


def send_a_little_and_wait(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    _until_hung_up(connection)


def _until_hung_up(connection: socket.socket) -> None:
    poll_s = 0.05
    while True:
        connection.settimeout(poll_s)
        try:
            if not connection.recv(1, socket.MSG_PEEK):
                return
            time.sleep(poll_s)
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x01":  # no longer established
                return
        except TimeoutError:
            continue


def up(client: XrpcClient, blob: Path) -> None:
    client.upload(NSID, UploadBody(blob, blob.stat().st_size, "image/png"))


def down(client: XrpcClient, _: Path) -> None:
    with client.download(GET_BLOB, {}) as download:
        for _chunk in download.chunks:
            pass


WAITS: dict[str, tuple[Handler, Callable[[XrpcClient, Path], None]]] = {
    "for the host to take bytes": (read_nothing, up),
    "for the host to digest": (read_all_and_think, up),
    "for an answer": (read_nothing, down),
    "for the rest of a body": (send_a_little_and_wait, down),
}


@pytest.mark.parametrize(("handler", "act"), WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_who_is_asked_to_stop_while_it_waits_ends_at_once(
    blob: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    handler: Handler,
    act: Callable[[XrpcClient, Path], None],
    is_tls: bool,
) -> None:
    stop = threading.Event()

    def handle(plain: socket.socket) -> None:
        threading.Timer(0.7, set_stop).start()
        if not is_tls:
            handler(plain)
            return
        with suppress(OSError), tls.wrap_socket(plain, server_side=True) as secure:
            read_head(secure)
            if handler is send_a_little_and_wait:
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
            if handler is read_all_and_think:
                read_most(secure)
            stop.wait(10)
            time.sleep(0.5)

    def set_stop() -> None:
        stopped_s.append(time.monotonic())
        stop.set()

    stopped_s: list[float] = []
    if is_tls:
        tls = server_tls(tmp_path, "localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with serving(handle) as server, new_http_client(2, HostPolicy(is_private_allowed=True)) as http:
        url = f"https://localhost:{server.port}" if is_tls else server.url
        with pytest.raises(StoppedError):
            act(XrpcClient(http, url, stop=stop), blob)
        ended_s = time.monotonic()
    assert ended_s - stopped_s[0] < 5  # a second; of ten at least where nobody looks


def test_a_destination_that_takes_bytes_too_slowly_is_given_up(
    http: httpx.Client, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes some all the time, so that no silence is ever long: what it takes is too little."""
    monkeypatch.setattr(speed, "LEAST_BYTES_PER_S", 2e6)
    monkeypatch.setattr(speed, "PATIENCE_S", 0.5)

    def sip(plain: socket.socket) -> None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        read_head(plain)
        with suppress(OSError):
            while plain.recv(4096):
                time.sleep(0.02)

    def connect_narrowly(endpoint: Endpoint, timeout_s: float) -> socket.socket:
        ours = connect(endpoint, timeout_s)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else megabytes have left before any wait
        return ours

    connect = transport._connect
    monkeypatch.setattr(transport, "_connect", connect_narrowly)
    began_s = time.monotonic()
    with serving(sip) as server, pytest.raises(HostUnreachable, match="too slowly to go on"):
        up(XrpcClient(http, server.url), blob)
    assert time.monotonic() - began_s < 10


def test_a_single_piece_has_its_time_too_however_little_is_taken_of_it_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LEAST_BYTES_PER_S", 1e6)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def sip() -> None:
            with suppress(OSError):
                while theirs.recv(512):
                    time.sleep(0.01)

        reader = threading.Thread(target=sip, daemon=True)
        reader.start()
        began_s = time.monotonic()
        with pytest.raises(httpcore.WriteTimeout, match="too slowly"):
            BoundedStream(ours, "pds.example").write(b"x" * 256 * 1024, timeout=0.5)
        assert 0.5 < time.monotonic() - began_s < 4  # of five, at that pace
        ours.close()
        reader.join(5)


def test_a_source_that_gives_bytes_too_slowly_is_given_up(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE_S", 0.3)

    def drip(plain: socket.socket) -> None:
        read_head(plain)
        plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(OSError):
            while True:
                plain.sendall(b"x" * 100)
                time.sleep(0.05)

    with serving(drip) as server, pytest.raises(HostUnreachable, match="too slowly to go on"):
        down(XrpcClient(http, server.url), Path())


def test_a_slow_consumer_is_not_the_hosts_fault(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE_S", 0.5)

    def send(plain: socket.socket) -> None:
        read_head(plain)
        plain.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            plain.sendall(b"100\r\n" + b"x" * 256 + b"\r\n")
        plain.sendall(b"0\r\n\r\n")

    with serving(send) as server, XrpcClient(http, server.url).download(GET_BLOB, {}) as download:
        for _ in download.chunks:
            time.sleep(0.3)


def test_a_host_may_digest_a_large_blob_for_longer_than_it_may_be_silent_otherwise(
    http: httpx.Client, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "DIGEST_BYTES_PER_S", 2 * MB)
    monkeypatch.setattr(bodies, "LEAST_BYTES_PER_S", 1e12)
    http.timeout = httpx.Timeout(0.5)

    def digest(plain: socket.socket) -> None:
        read_head(plain)
        read_most(plain)
        time.sleep(1.0)
        plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serving(digest) as server:
        up(XrpcClient(http, server.url), blob)
    small = blob.with_name("small")
    small.write_bytes(b"x")
    with serving(read_nothing) as server, pytest.raises(HostUnreachable, match="stopped answering"):
        up(XrpcClient(http, server.url), small)


def test_the_time_for_an_answer_grows_with_the_size_and_stays_bounded() -> None:
    minutes = [answer_timeout_s(size, 60) / 60 for size in (0, 50_000, 50 * MB, 1024 * MB)]
    assert minutes[0] == 1
    assert minutes[1] < 1.2
    assert 3 < minutes[2] < 5
    assert 15 < minutes[3] < 25


def test_a_host_that_refuses_while_it_is_being_sent_to_is_understood(http: httpx.Client, blob: Path) -> None:
    """413 at once, and the connection closed: what it said counts, not that it hung up."""

    def refuse(plain: socket.socket) -> None:
        read_head(plain)
        plain.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        plain.shutdown(socket.SHUT_WR)
        with suppress(OSError):  # as much as was under way: closed at once, it would be reset with what it said
            deadline_s = time.monotonic() + 10
            while time.monotonic() < deadline_s and plain.recv(MB):
                pass

    with serving(refuse) as server, pytest.raises(BlobTooLarge):
        up(XrpcClient(http, server.url), blob)


BLOB = b"the bytes of a blob"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def with_length(body: bytes, announced: int, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n{more}\r\n".encode() + body


LYING: dict[str, tuple[bytes, Outcome, str]] = {
    "fewer bytes than announced": (with_length(BLOB[:5], len(BLOB)), Outcome.FAILED, "host_unreachable"),
    "the announced bytes, which are too few": (with_length(BLOB[:5], 5), Outcome.CORRUPT_AT_SOURCE, ""),
    "more bytes, announced": (with_length(BLOB + b"xx", len(BLOB) + 2), Outcome.CORRUPT_AT_SOURCE, ""),
    "an end within a chunk": (CHUNKED + b"13\r\n" + BLOB[:5], Outcome.FAILED, "host_unreachable"),
    "an end without the last chunk": (CHUNKED + b"13\r\n" + BLOB + b"\r\n", Outcome.FAILED, "host_unreachable"),
    "gzip that nobody asked for": (
        with_length(gzip.compress(BLOB), len(gzip.compress(BLOB)), "Content-Encoding: gzip\r\n"),
        Outcome.CORRUPT_AT_SOURCE,
        "",
    ),
}


def copied(http: httpx.Client, folder: Path, answers: list[bytes]) -> BlobOutcome:
    """What becomes of the blob where the source answers so, one answer a connection, the last one again and again."""
    cid, left = cid_of(BLOB, CODEC_RAW), list(answers)

    def source(plain: socket.socket) -> None:
        if read_head(plain):
            plain.sendall(left.pop(0) if len(left) > 1 else left[0])

    with serving(source) as old, serving(stores(cid)) as new:
        copier = BlobCopier(
            source=XrpcClient(http, old.url),
            destination=XrpcClient(http, new.url),
            did=DID,
            folder=folder,
            max_bytes=MB,
            stop=threading.Event(),
            policy=RetryPolicy(retries=2),
            pause=lambda _stop, _seconds: False,
        )
        return copier(cid)


def stores(cid: Cid) -> Handler:
    body = f'{{"blob": {{"ref": {{"$link": "{cid}"}}, "mimeType": "", "size": {len(BLOB)}}}}}'.encode()

    def store(plain: socket.socket) -> None:
        read_head(plain)
        plain.sendall(with_length(body, len(body)))

    return store


@pytest.mark.parametrize(("raw", "outcome", "code"), LYING.values(), ids=LYING)
def test_a_body_of_another_length_is_that_blobs_failure_after_all_retries(
    http: httpx.Client, tmp_path: Path, raw: bytes, outcome: Outcome, code: str
) -> None:
    found = copied(http, tmp_path, [raw])
    assert found.outcome is outcome
    assert found.attempts == 3
    assert not code or found.error_code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("raw", "outcome", "code"), LYING.values(), ids=LYING)
def test_what_went_wrong_on_the_way_once_is_fetched_again(
    http: httpx.Client, tmp_path: Path, raw: bytes, outcome: Outcome, code: str
) -> None:
    assert copied(http, tmp_path, [raw, with_length(BLOB, len(BLOB))]).outcome is Outcome.TRANSFERRED


@pytest.mark.parametrize("raw", [CHUNKED + b"13\r\n" + BLOB + b"\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + BLOB])
def test_a_body_without_a_length_is_whole_where_its_hash_says_so(
    http: httpx.Client, tmp_path: Path, raw: bytes
) -> None:
    assert copied(http, tmp_path, [raw]).outcome is Outcome.TRANSFERRED


def test_bytes_after_the_announced_ones_do_no_harm_to_this_blob_and_cost_the_next_no_more_than_a_retry(
    http: httpx.Client,
) -> None:
    answers = [with_length(BLOB, len(BLOB)) + b"left over"]

    def source(plain: socket.socket) -> None:
        while read_head(plain):
            plain.sendall(answers.pop() if answers else with_length(BLOB, len(BLOB)))

    with serving(source) as server:
        client, found, errors = XrpcClient(http, server.url), [], []
        for _ in range(4):
            try:
                with client.download(GET_BLOB, {}) as download:
                    found.append(b"".join(download.chunks))
            except HostUnreachable as error:
                errors.append(error.message)
    assert set(found) == {BLOB}
    assert len(errors) <= 1
    assert all("broke off its answer" in message and "left over" not in message for message in errors)


def test_a_body_that_says_it_is_compressed_is_marked_so(http: httpx.Client) -> None:
    raw, _, _ = LYING["gzip that nobody asked for"]

    def source(plain: socket.socket) -> None:
        read_head(plain)
        plain.sendall(raw)

    with serving(source) as server, XrpcClient(http, server.url).download(GET_BLOB, {}) as download:
        assert (download.is_packed, download.size_bytes) == (True, None)
        list(download.chunks)
