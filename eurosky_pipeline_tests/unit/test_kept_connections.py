"""Which connections are used again, and which never: one in the middle of a body would give it to the wrong asker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpcore
import httpx
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, RequestRefused
from eurosky_pipeline.xrpc.exchange import Exchanges
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.kept import KeptConnections
from eurosky_pipeline.xrpc.transport import GuardedTransport
from eurosky_pipeline_tests.loopback import Handler, read_head, server_tls, serving

NSID = "com.example.some.method"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ORIGIN = ("https", "pds.example", 443)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(2, HostPolicy(is_private_allowed=True)) as client:
        client.timeout = httpx.Timeout(5)
        yield client


def answering(*answers: bytes) -> Handler:
    """Each request of a connection gets the next answer; after the last, the connection stays open."""

    def handle(connection: socket.socket) -> None:
        for answer in answers:
            if read_head(connection):
                connection.sendall(answer)
        with suppress(TimeoutError):
            connection.recv(1)

    return handle


@pytest.mark.parametrize(
    ("answer", "is_used_again"),
    {
        "its length told": (OK, True),
        "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        "after a hint": (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK, True),
        "said to be the last": (OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), False),
        "of an old server": (OK.replace(b"1.1", b"1.0"), False),
        "with more than it said": (OK + b"HTTP/1.1 200 OK", False),
    }.values(),
    ids=lambda value: "" if isinstance(value, bool) else None,
)
def test_a_connection_is_used_again_where_its_answer_has_an_end(
    http: httpx.Client, answer: bytes, is_used_again: bool
) -> None:
    with serving(answering(answer, OK)) as server:
        client = XrpcClient(http, server.url)
        assert client.query(NSID) == {}
        assert client.query(NSID) == {}
        assert server.connections == (1 if is_used_again else 2)


def test_an_answer_that_was_left_in_its_middle_is_nobody_elses(http: httpx.Client) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
    with serving(answering(body, OK)) as server:
        client = XrpcClient(http, server.url)
        with client.download(NSID, {}) as download:
            next(download.chunks)
        with pytest.raises(AnswerInvalid, match="not a JSON object"):  # that body, from its beginning
            client.query(NSID)
        assert server.connections == 2


def test_a_host_that_answers_before_it_has_all_is_heard_and_not_asked_there_again(
    http: httpx.Client, tmp_path: Path
) -> None:
    """So a PDS refuses what is too large."""
    path = tmp_path / "blob"
    path.write_bytes(bytes(30_000_000))
    refusal = b'{"error":"PayloadTooLarge","message":"no"}'

    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)

    with serving(refuse) as server:
        client = XrpcClient(http, server.url)
        for _ in range(2):
            with pytest.raises((RequestRefused, HostUnreachable)):
                client.upload(NSID, UploadBody(path, 30_000_000, "image/png"))
        assert server.connections == 2


class Connection:
    """Stands for what `KeptConnections` keeps."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.is_reusable = True
        self.is_hung_up = False
        self.is_closed = False

    def is_stale(self, longest_idle_s: float) -> bool:
        return self.is_hung_up

    def close(self) -> None:
        self.is_closed = True


def kept(*, most: int = 9) -> KeptConnections:
    def connect(origin: object, timeout_s: float | None) -> None:
        raise ConnectionError(f"a new one to {origin} within {timeout_s}")

    return KeptConnections(connect, longest_idle_s=5, most=most)  # type: ignore[arg-type]


def give_back(store: KeptConnections, *connections: Connection) -> None:
    for connection in connections:
        store.give_back(ORIGIN, connection)  # type: ignore[arg-type]


def test_the_one_that_was_used_last_is_used_next_and_only_for_its_own_host() -> None:
    store, first, last = kept(), Connection(), Connection()
    give_back(store, first, last)
    for other in (("http", *ORIGIN[1:]), ("https", "other.example", 443), ("https", "pds.example", 8443)):
        with pytest.raises(ConnectionError, match=f"'{other[1]}', {other[2]}.* within 3"):
            store.take(other, 3)
    assert store.take(ORIGIN, 3) is last
    assert store.take(ORIGIN, 3) is first
    with pytest.raises(ConnectionError):
        store.take(ORIGIN, 3)


def test_what_a_host_has_hung_up_is_closed_and_the_next_one_taken() -> None:
    store, good, gone = kept(), Connection(), Connection()
    give_back(store, good, gone)
    gone.is_hung_up = True
    assert store.take(ORIGIN, None) is good
    assert (good.is_closed, gone.is_closed) == (False, True)


def test_no_more_than_so_many_are_kept_and_old_ones_go_first() -> None:
    store, connections = kept(most=2), [Connection() for _ in range(3)]
    give_back(store, *connections)
    assert [connection.is_closed for connection in connections] == [True, False, False]
    connections[1].is_hung_up = True
    store.take(ORIGIN, None)
    give_back(store, connections[2])
    assert [connection.is_closed for connection in connections] == [True, True, False]
    store.close()
    assert connections[2].is_closed


def test_one_whose_exchange_did_not_end_is_closed() -> None:
    store, broken = kept(), Connection()
    broken.is_reusable = False
    give_back(store, broken)
    assert broken.is_closed
    with pytest.raises(ConnectionError):
        store.take(ORIGIN, None)


def test_threads_never_have_the_same_one(http: httpx.Client) -> None:
    """Each asks for its own number again and again, and gets it."""
    wrong: list[object] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def echo(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while head := read_head(connection):
                body = b'{"n":%s}' % head.partition("n=")[2].partition(" ")[0].encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def ask(number: int, url: str) -> None:
        for _ in range(40):
            if (found := XrpcClient(http, url).query(NSID, {"n": number})) != {"n": number}:
                wrong.append(found)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threads = [threading.Thread(target=ask, args=(number, url)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        listener.shutdown(socket.SHUT_RDWR)
    assert wrong == []


def test_an_answer_to_head_has_no_body_whatever_length_it_tells(http: httpx.Client) -> None:
    with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", OK)) as server:
        client = XrpcClient(http, server.url)
        assert client.head(NSID, {}).size_bytes == 1_000_000
        assert client.query(NSID) == {}
        assert server.connections == 1


def test_of_two_ways_to_tell_an_end_the_chunks_count(http: httpx.Client) -> None:
    """RFC 9112, 6.3: a length beside them is to be disregarded."""
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with serving(answering(both)) as server:
        assert XrpcClient(http, server.url).query(NSID) == {}


def test_what_comes_after_the_end_of_a_body_is_not_of_it(http: httpx.Client) -> None:
    def send(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        time.sleep(0.2)
        connection.sendall(b"cdefgh")
        connection.recv(1)

    with serving(send) as server, XrpcClient(http, server.url).download(NSID, {}) as download:
        assert b"".join(download.chunks) == b"abcd"


def test_all_of_an_upload_arrives_at_a_host_that_speaks_tls_and_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, size_bytes, taken = tmp_path / "blob", 12_000_000, []
    path.write_bytes(bytes(range(250)) * (size_bytes // 250))
    context = server_tls(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def take(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            raw = b""
            while b"\r\n\r\n" not in raw:
                raw += connection.recv(1000)
            body = bytearray(raw.partition(b"\r\n\r\n")[2])
            time.sleep(0.5)  # until nothing more goes into any buffer
            while len(body) < size_bytes:
                body += connection.recv(65536)
            taken.append(bytes(body))
            connection.sendall(OK)

    with serving(take) as server, new_http_client(1, HostPolicy(is_private_allowed=True)) as secure:
        url = f"https://localhost:{server.port}"
        assert XrpcClient(secure, url).upload(NSID, UploadBody(path, size_bytes, "image/png")) == {}
    assert taken == [path.read_bytes()]


def test_a_host_that_was_judged_is_judged_again_where_its_url_carries_credentials() -> None:
    with serving(answering(OK, OK)) as server, new_http_client(1, HostPolicy(is_private_allowed=True)) as http:
        assert http.get(server.url).status_code == 200
        with pytest.raises(SettingsError, match="carries credentials"):
            http.get(server.url.replace("http://", "http://somebody:secret@"))


def test_a_body_that_is_closed_twice_gives_its_connection_back_once(http: httpx.Client) -> None:
    with serving(answering(OK)) as server:
        answer = http.send(http.build_request("GET", server.url), stream=True)
        answer.read()
        answer.stream.close()  # type: ignore[union-attr]
        transport = http._transport
        assert isinstance(transport, GuardedTransport)
        assert [len(idle) for idle in transport._direct._idle.values()] == [1]


class Refusing:
    """Stands for the connection to a host that has answered and hung up before it took all."""

    def __init__(self) -> None:
        self._answers = [b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        raise httpcore.WriteError("broken pipe")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._answers.pop()

    def restart(self) -> None:
        pass


def test_what_a_host_said_before_it_hung_up_is_heard() -> None:
    exchanges = Exchanges(Refusing())  # type: ignore[arg-type]
    request = httpx.Request("POST", "http://pds.example/xrpc/x", content=b"12345")
    head = exchanges.send(request)
    assert (head.status_code, b"".join(exchanges.body(request, head))) == (413, b"{}")
    assert not exchanges.is_reusable


def answering_once(connection: socket.socket) -> None:
    """The second request finds that the host hangs up, as if it had done so a moment ago."""
    read_head(connection)
    connection.sendall(OK)
    read_head(connection)


def test_a_question_that_crosses_a_hosts_hanging_up_is_asked_again(http: httpx.Client) -> None:
    with serving(answering_once) as server:
        client = XrpcClient(http, server.url)
        assert [client.query(NSID) for _ in range(4)] == [{}, {}, {}, {}]
        assert server.connections == 4


def test_what_may_have_had_an_effect_is_not_sent_again_by_itself(http: httpx.Client) -> None:
    with serving(answering_once) as server:
        client = XrpcClient(http, server.url)
        client.query(NSID)
        with pytest.raises(HostUnreachable):
            client.procedure(NSID, {})
        assert server.connections == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2"], ids=["nothing", "the beginning of an answer"])
def test_a_host_that_breaks_off_on_a_new_connection_or_in_its_answer_is_not_asked_again(
    http: httpx.Client, said: bytes
) -> None:
    def break_off(connection: socket.socket) -> None:
        if server.connections == 1 and said:  # so that the next request finds a connection that was used
            read_head(connection)
            connection.sendall(OK)
        read_head(connection)
        connection.sendall(said)

    with serving(break_off) as server:
        client = XrpcClient(http, server.url)
        if said:
            client.query(NSID)
        with pytest.raises(HostUnreachable):
            client.query(NSID)
        assert server.connections == 1
