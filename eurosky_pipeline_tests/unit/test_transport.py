"""The guard on the connection itself: what is connected to is what was judged, whatever a name says the second time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc import transport
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import HostUnreachable, RequestRefused
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.loopback import Served, read_head, server_tls, serving
from eurosky_pipeline_tests.stub_pds import Answer, stub_pds

NSID = "com.example.some.method"
HOST = "pds.example"
PUBLIC = "93.184.216.34"
STRICT = HostPolicy()
OPEN = HostPolicy(is_private_allowed=True)


class Network:
    """Stands below everything: names are answered from a list, and connections into the world are noted, not made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[list[str]] = []
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []
        really_connect = socket.socket.connect

        def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
            self.looked_up.append(host)
            now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in now]

        def connect(sock: socket.socket, address: tuple[str, int]) -> None:
            self.connected.append(address)
            if not address[0].startswith("127."):
                raise ConnectionRefusedError(111, "nobody is let out of this test")
            really_connect(sock, address)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.fixture
def inside() -> Iterator[Served]:
    """A server in the network that this runs in, which nobody may reach."""
    with serving(lambda connection: None) as server:
        yield server


def ask(url: str, policy: HostPolicy = STRICT) -> object:
    with new_http_client(1, policy) as http:
        return XrpcClient(http, url).query(NSID)


def test_a_name_that_turns_inside_after_the_check_is_refused_and_not_connected_to(
    network: Network, inside: Served
) -> None:
    network.answers = [[PUBLIC], ["127.0.0.1"]]
    url = STRICT.check_reachable(f"https://{HOST}:{inside.port}")
    with pytest.raises(SettingsError, match=r"'pds\.example' resolves to 127\.0\.0\.1, which is not a pub") as caught:
        ask(url)
    assert caught.value.code == "host_refused"
    assert (network.connected, inside.connections) == ([], 0)


def test_a_name_that_turns_inside_between_check_and_connection_is_not_asked_again(
    network: Network, inside: Served
) -> None:
    network.answers = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(HostUnreachable, match=f"{HOST}:{inside.port} could not be connected to"):
        ask(f"https://{HOST}:{inside.port}")
    assert network.looked_up == [HOST]
    assert network.connected == [(PUBLIC, inside.port)]
    assert inside.connections == 0


def test_a_name_that_answers_with_both_is_refused_before_any_connection(network: Network, inside: Served) -> None:
    network.answers = [[PUBLIC, "127.0.0.1"]]
    with pytest.raises(SettingsError, match=r"resolves to 127\.0\.0\.1"):
        ask(f"https://{HOST}:{inside.port}")
    assert (network.connected, inside.connections) == ([], 0)


def test_every_new_connection_is_judged_again(network: Network, inside: Served) -> None:
    network.answers = [[PUBLIC], [PUBLIC], ["127.0.0.1"]]
    with new_http_client(1, STRICT) as http:
        client = XrpcClient(http, f"https://{HOST}:{inside.port}")
        for expected in (HostUnreachable, HostUnreachable, SettingsError):
            with pytest.raises(expected):
                client.query(NSID)
    assert network.connected == [(PUBLIC, inside.port)] * 2


@pytest.mark.parametrize(
    "url",
    [
        *("http://pds.example", "http://pds.example:2583", "https://pds.example:22", "https://me:pw@pds.example"),
        *("https://10.0.0.1", "https://[::1]", "https://2130706433", "https://127.1", "https://pds..example"),
    ],
)
def test_a_url_that_nobody_has_checked_is_refused_by_the_transport(url: str, network: Network) -> None:
    network.answers = [[PUBLIC]]
    with new_http_client(1, STRICT) as http, pytest.raises(SettingsError) as caught:
        http.get(f"{url}/xrpc/{NSID}?a=1")
    assert caught.value.code == "host_refused"
    assert "pw" not in caught.value.with_hint()
    assert network.connected == []


def test_the_addresses_that_were_judged_are_tried_in_turn(network: Network) -> None:
    network.answers = [["93.184.216.1", "93.184.216.2", "93.184.216.3"]]
    with pytest.raises(HostUnreachable):
        ask(f"https://{HOST}")
    assert network.connected == [(f"93.184.216.{n}", 443) for n in (1, 2, 3)]


def test_of_very_many_addresses_only_some_are_tried(network: Network) -> None:
    network.answers = [[f"93.184.216.{n}" for n in range(1, 200)]]
    with pytest.raises(HostUnreachable):
        ask(f"https://{HOST}")
    assert len(network.connected) == transport.MAX_ADDRESSES


def test_an_address_that_nobody_answers_at_leaves_time_for_the_next(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float | None] = []

    def connect(sock: socket.socket, _: object) -> None:
        patience.append(sock.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", connect)
    network.answers = [["93.184.216.1", "93.184.216.2"]]
    with pytest.raises(HostUnreachable, match="could not be reached in time"):
        ask(f"https://{HOST}")
    assert patience == [pytest.approx(5, abs=0.5), pytest.approx(10, abs=0.5)]


def test_the_next_address_is_connected_to_when_one_refuses(network: Network) -> None:
    with stub_pds() as stub:
        stub.routes[NSID] = lambda _: Answer.of_json({"ok": True})
        port = int(stub.url.rpartition(":")[2])
        network.answers = [["93.184.216.1", "127.0.0.1"]]
        assert ask(f"http://{HOST}:{port}", OPEN) == {"ok": True}
    assert network.connected == [("93.184.216.1", port), ("127.0.0.1", port)]


def test_the_sandboxes_own_servers_are_reached_and_no_other_port_of_this_machine(inside: Served) -> None:
    with stub_pds() as stub:
        stub.routes[NSID] = lambda _: Answer.of_json({"ok": True})
        port = int(stub.url.rpartition(":")[2])
        policy = HostPolicy(allowed_addresses=frozenset({("localhost", port)}))
        assert ask(f"http://localhost:{port}", policy) == {"ok": True}
        for url in (f"http://localhost:{inside.port}", f"https://localhost:{inside.port}", f"http://127.0.0.1:{port}"):
            with pytest.raises(SettingsError):
                ask(url, policy)
        assert (stub.asked, inside.connections) == ([NSID], 0)


def test_a_connection_serves_more_than_one_request(network: Network) -> None:
    network.answers = [["127.0.0.1"]]
    with stub_pds() as stub, new_http_client(1, OPEN) as http:
        stub.routes[NSID] = lambda _: Answer.of_json({"ok": True})
        client = XrpcClient(http, stub.url)
        for _ in range(3):
            assert client.query(NSID) == {"ok": True}
    assert len(network.connected) == 1


def test_a_connection_that_the_host_has_closed_is_not_used_again(network: Network) -> None:
    network.answers = [["127.0.0.1"]]

    def answer_and_hang_up(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serving(answer_and_hang_up) as server, new_http_client(1, OPEN) as http:
        client = XrpcClient(http, server.url)
        for _ in range(3):
            assert client.query(NSID) == {}
            time.sleep(0.1)  # for its end to arrive
        assert server.connections == 3


def test_tls_and_host_carry_the_name_and_not_the_address(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_tls(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    names: list[object] = []
    heads: list[str] = []
    context.sni_callback = lambda _, name, __: names.append(name)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            while head := read_head(secure):
                heads.append(head)
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serving(answer) as server:
        network.answers = [["127.0.0.1"]]
        url = f"https://{HOST}:{server.port}"
        with new_http_client(1, HostPolicy(allowed_addresses=frozenset({(HOST, server.port)}))) as http:
            assert [XrpcClient(http, url).query(NSID) for _ in range(2)] == [{}, {}]
        assert server.connections == 1
        assert names == [HOST]
        assert [f"host: {HOST}:{server.port}" in head for head in heads] == [True, True]


def test_a_certificate_of_another_name_is_no_certificate(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_tls(tmp_path, "other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    network.answers = [["127.0.0.1"]]
    with (
        serving(lambda connection: context.wrap_socket(connection, server_side=True).close()) as server,
        pytest.raises(HostUnreachable, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        ask(f"https://{HOST}:{server.port}", OPEN)


def test_a_server_that_speaks_no_tls_is_told_as_that(network: Network) -> None:
    network.answers = [["127.0.0.1"]]
    with (
        serving(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        pytest.raises(HostUnreachable) as caught,
    ):
        ask(f"https://{HOST}:{server.port}", OPEN)
    assert "does not speak https there" in caught.value.hint


def test_the_guard_stands_in_the_way_of_the_client_itself() -> None:
    with new_http_client(1, STRICT) as http:
        assert isinstance(http._transport, transport.GuardedTransport)
        assert not http._mounts
        assert not http.follow_redirects


@pytest.mark.parametrize(
    "location",
    [
        *("http://169.254.169.254/latest", "//10.0.0.1/", "/", "", "?", "#", ":", "::", "http://[", "https:a:b"),
        *("http://xn--", "http://xn--a", "javascript:alert(1)", "https://a:99999", "https://user:pw@h/", "///////x"),
        *("https://" + "a" * 60_000, "http://1.2.3.256", "https://\xff.example", "http://a b"),
    ],
)
def test_a_redirect_is_told_as_one_wherever_it_points(location: str) -> None:
    asked = 0

    def redirect(connection: socket.socket) -> None:
        nonlocal asked
        read_head(connection)
        asked += 1
        head = f"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode("latin-1"))

    with serving(redirect) as server, new_http_client(1, OPEN) as http:
        http.follow_redirects = True
        answer = http.get(server.url)
        assert (answer.status_code, answer.headers["location"], answer.history) == (302, location, [])
        client = XrpcClient(http, server.url)
        with pytest.raises(Exception, match="redirects are not followed") as caught:
            client.query(NSID)
        assert caught.value.code == "redirected"
        with pytest.raises(RequestRefused, match="redirects are not followed"):
            client.head(NSID, {})
        assert asked == 3


def test_a_hosts_cookies_are_sent_to_nobody() -> None:
    heads: list[str] = []

    def answer(connection: socket.socket) -> None:
        while head := read_head(connection):
            heads.append(head)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                b"Set-Cookie: plain=1\r\nset-cookie: wide=1; Domain=127.0.0.1; Path=/\r\nSET-COOKIE2: old=1\r\n\r\n{}"
            )

    with serving(answer) as server, serving(answer) as other, new_http_client(1, OPEN) as http:
        for url in (server.url, server.url, other.url):
            assert XrpcClient(http, url).query(NSID) == {}
        assert list(http.cookies.jar) == []
    assert len(heads) == 3
    assert not [head for head in heads if "cookie" in head]


@pytest.mark.parametrize(
    "name",
    [
        "ConnectError",
        "ConnectTimeout",
        "ReadError",
        "ReadTimeout",
        "WriteError",
        "WriteTimeout",
        "PoolTimeout",
        "ProxyError",
        "RemoteProtocolError",
        "LocalProtocolError",
        "UnsupportedProtocol",
    ],
)
def test_every_error_of_the_layer_below_has_its_name_in_httpx(name: str) -> None:
    import httpcore

    with pytest.raises(getattr(httpx, name), match="words"), transport._httpx_errors():
        raise getattr(httpcore, name)("words")
    leaves = {kind for kind in vars(httpcore).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    parents = {base for kind in leaves for base in kind.__mro__[1:]}
    assert leaves - parents - {httpcore.ConnectionNotAvailable} == set(transport._SAME_IN_HTTPX)
