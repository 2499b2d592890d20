"""From a name to addresses: each once, both families in turn, and never for longer than is given."""

import socket
import threading
import time

import pytest

from eurosky_pipeline.xrpc.errors import HostUnreachable
from eurosky_pipeline.xrpc.resolver import resolve

V4, V6 = socket.AF_INET, socket.AF_INET6


def test_the_two_families_take_turns_and_the_systems_order_holds_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        *((V6, 1, 6, "", (text, 443, 0, 0)) for text in ("2606::1", "2606::2", "2606::3")),
        (V6, 1, 6, "", ("2606::1", 443, 0, 0)),
        *((V4, 1, 6, "", (text, 443)) for text in ("1.1.1.1", "1.0.0.1")),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert [endpoint.ip for endpoint in resolve("pds.example", 443)] == [
        *("2606::1", "1.1.1.1", "2606::2", "1.0.0.1", "2606::3")
    ]


def test_an_endpoint_is_what_a_socket_connects_to() -> None:
    [endpoint] = resolve("127.0.0.1", 99)
    assert (endpoint.family, endpoint.address, endpoint.ip) == (V4, ("127.0.0.1", 99), "127.0.0.1")


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(30))
    started_s = time.monotonic()
    with pytest.raises(HostUnreachable, match=r"slow\.example did not resolve within 0 s") as caught:
        resolve("slow.example", 443, timeout_s=0.2)
    assert caught.value.code == "host_unresolvable"
    assert time.monotonic() - started_s < 20
    release.set()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no"), OSError("no"), UnicodeError("no")])
def test_a_name_that_cannot_be_resolved_is_told_as_that(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(HostUnreachable, match=r"no\.example does not resolve"):
        resolve("no.example", 443)


def test_a_name_without_addresses_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(HostUnreachable, match="does not resolve"):
        resolve("no.example", 443)
