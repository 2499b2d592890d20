"""The XRPC client over a real socket: what stands on the wire, and answers that break off, lie or do not come."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import HostUnreachable, RequestRefused
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in

NSID = "com.example.some.method"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
SILENCE = b""
PATIENCE = httpx.Timeout(5, read=0.3)
ANYWHERE = HostPolicy(is_private_allowed=True)


class Wire:
    """What a client sent, request by request: the head's lines in lower case, and the body."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[tuple[list[str], bytes]] = []


@contextmanager
def wire(*answers: bytes) -> Iterator[Wire]:
    """A server that sends these bytes, one answer a connection, and hangs up; for SILENCE it waits for the client."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Wire(server.getsockname()[1])

        def serve() -> None:
            for reply in answers:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(5)
                    found.requests.append(_read_request(connection))
                    if reply is SILENCE:
                        connection.recv(1)
                    else:
                        connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield found
        thread.join(5)
        assert not thread.is_alive(), "fewer requests came than there are answers"


def _read_request(connection: socket.socket) -> tuple[list[str], bytes]:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65536)
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return lines, body


def reply_of(value: object, status: str = "200 OK") -> bytes:
    return with_length(json.dumps(value).encode(), status)


def with_length(body: bytes, status: str = "200 OK", announced: int | None = None) -> bytes:
    length = len(body) if announced is None else announced
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode() + body


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(5, ANYWHERE) as client:
        client.timeout = PATIENCE
        yield client


def test_an_upload_announces_its_length_and_is_not_chunked(http: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "account.car"
    path.write_bytes(bytes(range(256)) * 4000)
    with wire(reply_of({})) as server:
        XrpcClient(http, server.url).upload(NSID, UploadBody(path, 1_024_000, "application/vnd.ipld.car"))
    [(head, body)] = server.requests
    assert head[0] == f"post /xrpc/{NSID} http/1.1"
    assert "content-length: 1024000" in head
    assert "content-type: application/vnd.ipld.car" in head
    assert not [line for line in head if line.startswith("transfer-encoding")]
    assert body == path.read_bytes()


def test_an_empty_upload_announces_no_bytes(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with wire(reply_of({})) as server:
        XrpcClient(http, server.url).upload(NSID, UploadBody(tmp_path / "empty", 0, "text/plain"))
    assert "content-length: 0" in server.requests[0][0]


def test_an_upload_after_a_renewal_starts_again_at_its_first_byte(http: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789" * 60_000)
    with wire(
        reply_of({"did": DID, "accessJwt": "access-1", "refreshJwt": "refresh-1"}),
        reply_of({"error": "ExpiredToken"}, "400 Bad Request"),
        reply_of({"accessJwt": "access-2", "refreshJwt": "refresh-2"}),
        reply_of({"ok": True}),
    ) as server:
        public = XrpcClient(http, server.url)
        client = public.with_authorization(log_in(public, DID, SecretStr("hunter2")))
        assert client.upload(NSID, UploadBody(path, 600_000, "image/png")) == {"ok": True}
    _, (first, first_body), (refresh, _), (second, second_body) = server.requests
    assert "authorization: bearer access-1" in first
    assert "authorization: bearer refresh-1" in refresh
    assert "authorization: bearer access-2" in second
    assert first_body == second_body == path.read_bytes()


@pytest.mark.parametrize(
    "reply",
    [
        with_length(b"0123456789", announced=100),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234",
    ],
    ids=["content-length", "between chunks", "within a chunk"],
)
def test_a_body_that_is_cut_short_is_never_taken_for_a_whole_one(http: httpx.Client, reply: bytes) -> None:
    with (
        wire(reply) as server,
        pytest.raises(HostUnreachable, match=f"broke off its answer when asked for {NSID}"),
        XrpcClient(http, server.url).download(NSID, {}) as download,
    ):
        b"".join(download.chunks)


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
def test_json_that_is_cut_short_is_no_answer(http: httpx.Client, status: str) -> None:
    with (
        wire(with_length(b'{"cids":[]}', status, announced=50)) as server,
        pytest.raises(HostUnreachable, match="broke off its answer"),
    ):
        XrpcClient(http, server.url).query(NSID)


def test_bytes_beyond_the_announced_length_are_not_read(http: httpx.Client) -> None:
    with wire(with_length(b"0123456789", announced=4)) as server, XrpcClient(http, server.url).download(NSID, {}) as it:
        assert (it.size_bytes, b"".join(it.chunks)) == (4, b"0123")


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
def test_a_server_that_does_not_speak_http_broke_off_its_answer(http: httpx.Client, reply: bytes) -> None:
    with wire(reply) as server, pytest.raises(HostUnreachable, match="broke off its answer"):
        XrpcClient(http, server.url).query(NSID)


def test_a_host_that_falls_silent_is_given_up(http: httpx.Client) -> None:
    with wire(SILENCE) as server, pytest.raises(HostUnreachable, match="stopped answering"):
        XrpcClient(http, server.url).query(NSID)


def test_a_host_that_falls_silent_within_a_body_is_given_up(http: httpx.Client) -> None:
    release = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                _read_request(connection)
                connection.sendall(with_length(b"0123456789", announced=100))
                release.wait(5)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = XrpcClient(http, f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(HostUnreachable, match="stopped answering"), client.download(NSID, {}) as download:
            list(download.chunks)
        release.set()
        thread.join(5)


def test_a_host_that_nobody_listens_on_cannot_be_connected_to(http: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(HostUnreachable, match=f"127.0.0.1:{port} could not be connected to"):
        XrpcClient(http, f"http://127.0.0.1:{port}").query(NSID)


def test_the_client_of_a_real_run_follows_no_redirect() -> None:
    with wire() as inside, new_http_client(5, ANYWHERE) as shared:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {inside.url}/latest\r\nContent-Length: 0\r\n\r\n".encode()
        with wire(redirect) as server, pytest.raises(RequestRefused, match=f"redirects {NSID} to {inside.url}/latest"):
            XrpcClient(shared, server.url).query(NSID)
    assert inside.requests == []


def test_bytes_are_asked_for_as_they_are_and_not_compressed() -> None:
    with wire(reply_of({}), reply_of({"id": DID})) as server, new_http_client(5, ANYWHERE) as shared:
        XrpcClient(shared, server.url).query(NSID)
        shared.get(f"{server.url}/{DID}")
    assert all("accept-encoding: identity" in head for head, _ in server.requests)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with wire(reply_of({"direct": True})) as server, new_http_client(5, ANYWHERE) as shared:
        assert XrpcClient(shared, server.url).query(NSID) == {"direct": True}


def test_a_login_leaves_no_secret_in_the_most_talkative_log(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with wire(
        reply_of({"did": DID, "accessJwt": "access-s3cret", "refreshJwt": "refresh-s3cret"}),
        reply_of({}),
    ) as server:
        public = XrpcClient(http, server.url)
        public.with_authorization(log_in(public, DID, SecretStr("password-s3cret"))).query(NSID)
    assert NSID in caplog.text  # it does log
    assert "s3cret" not in caplog.text
