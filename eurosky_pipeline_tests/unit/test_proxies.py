"""The operator's proxies: which request goes through which, and what of the host policy holds there."""

from __future__ import annotations

import socket
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.proxies import Proxies, environment_proxies
from eurosky_pipeline_tests.loopback import read_head, server_tls, serving

NSID = "com.example.some.method"
HOST = "pds.example"
STRICT = HostPolicy()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names resolve to; all that are not in it, to a public address. Addresses resolve to themselves."""
    found: dict[str, str] = {"127.0.0.1": "127.0.0.1"}

    def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found.get(host, "93.184.216.34"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://pds.example", "http://b:2"),
        ("http://pds.example", "http://a:1"),
        ("https://localhost:2583", None),
        ("http://127.0.0.1", None),
        ("https://[::1]", None),
        ("https://near.example", None),
        ("https://deep.near.example", None),
        ("https://notnear.example", "http://b:2"),
        ("https://port.example:8443", None),
        ("https://port.example", "http://b:2"),
    ],
)
def test_the_environment_names_the_proxy(url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://a:1")
    monkeypatch.setenv("HTTPS_PROXY", "b:2")
    monkeypatch.setenv("NO_PROXY", " .near.example , port.example:8443,")
    found = environment_proxies().proxy_for(httpx.URL(url))
    assert (found and str(found.url)) == proxy


def test_one_proxy_may_serve_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://a:1")
    proxies = environment_proxies()
    assert all(proxies.proxy_for(httpx.URL(f"{scheme}://pds.example")) for scheme in ("http", "https"))


def test_no_proxy_may_be_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://a:1")
    monkeypatch.setenv("no_proxy", "*")
    assert environment_proxies() == Proxies()


@pytest.mark.parametrize(
    "url",
    [
        "socks5://me:s3cret@a:1",
        "https://me:s3cret@a:1",
        "ftp://me:s3cret@a",
        "http://",
        "http://me:s3cret@[::1",
        "http://me:s3cret@a:x",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", url)
    with pytest.raises(SettingsError, match="HTTPS_PROXY names no proxy that is supported") as caught:
        new_http_client(1, STRICT)
    assert caught.value.code == "proxy_unsupported"
    assert "s3cret" not in caught.value.with_hint()


def test_a_proxy_of_the_private_network_carries_the_request_to_the_named_host(
    names: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_tls(tmp_path, HOST)
    heads: list[str] = []

    def be_proxy_and_host(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as secure:
            while head := read_head(secure):
                heads.append(head)
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serving(be_proxy_and_host) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@127.0.0.1:{proxy.port}")
        with new_http_client(1, STRICT) as http:
            assert [XrpcClient(http, f"https://{HOST}").query(NSID) for _ in range(2)] == [{}, {}]
        assert proxy.connections == 1
    assert heads[0].startswith(f"connect {HOST}:443 http/1.1\r\n")
    assert f"proxy-authorization: basic {b64encode(b'me:s3cret').decode().lower()}" in heads[0]
    assert "proxy-authorization" not in heads[1] + heads[2]


def test_a_name_that_leads_inside_is_refused_before_the_proxy_is_asked_each_time(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with serving(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with new_http_client(1, STRICT) as http:
            client = XrpcClient(http, f"https://{HOST}")
            with pytest.raises(HostUnreachable, match="403 Forbidden"):
                client.query(NSID)
            names[HOST] = "10.0.0.1"
            for url in (f"https://{HOST}", "https://10.0.0.1", "http://pds.example"):
                with pytest.raises(SettingsError) as caught:
                    XrpcClient(http, url).query(NSID)
                assert caught.value.code == "host_refused"
        assert proxy.connections == 1


def test_a_proxy_that_answers_without_end_is_left(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def flood(connection: socket.socket) -> None:
        read_head(connection)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 40)

    with serving(flood) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with new_http_client(1, STRICT) as http, pytest.raises(AnswerInvalid, match="bytes of headers"):
            XrpcClient(http, f"https://{HOST}").query(NSID)
