"""From a handle to a DID: who is asked in which order, whose word holds, and which handles belong to nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dns.message
import dns.rcode
import httpx
import pytest

from eurosky_pipeline.errors import EuroskyError, PermanentError, SettingsError, TransientError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.handle import (
    HandleAmbiguousError,
    HandleInvalidError,
    HandleNotFoundError,
    resolve_handle,
)
from eurosky_pipeline.identity.reserved import reserved_domain
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, ServerFault
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.fake_pds import json_answer
from eurosky_pipeline_tests.unit.stub_dns import StubDns, stub_dns

HANDLE = "alice.bsky.social"
TXT = f"_atproto.{HANDLE}"
ALICE = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BOB = "did:plc:z72i7hdynmk6r22z27h6tvur"
Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class World:
    """A name server, and web servers that answer as they are told; every name is a public server's."""

    dns: StubDns
    web: Handler = field(default=lambda _: httpx.Response(404, content=iter([b""])))
    asked: list[str] = field(default_factory=list)
    test_pds_urls: tuple[str, ...] = ()

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        return self.web(request)

    def resolve(self, handle: str = HANDLE) -> str:
        policy = HostPolicy(is_private_allowed=bool(self.test_pds_urls))
        with httpx.Client(transport=httpx.MockTransport(self.answer)) as http:
            directory = Directory(http, policy, "https://plc.directory", self.test_pds_urls, self.dns.resolver)
            return resolve_handle(directory, handle)

    def raised(self, handle: str = HANDLE) -> EuroskyError:
        with pytest.raises(EuroskyError) as caught:
            self.resolve(handle)
        return caught.value


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with stub_dns() as running:
        yield World(running)


def page(text: str, status: int = 200) -> Handler:
    return lambda _: httpx.Response(status, content=iter([text.encode()]))


def broken_dns(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def test_dns_is_asked_first_and_its_word_holds(world: World) -> None:
    world.dns.records[TXT] = [f'"did={ALICE}"']
    world.web = page(BOB)
    assert world.resolve() == ALICE
    assert world.asked == []


def test_the_web_server_is_asked_where_dns_names_nobody(world: World) -> None:
    world.web = page(ALICE)
    assert world.resolve() == ALICE
    assert world.dns.asked == [TXT]
    assert world.asked == [f"https://{HANDLE}/.well-known/atproto-did"]


def test_the_web_server_is_asked_where_dns_fails(world: World) -> None:
    world.dns.replies[TXT] = broken_dns
    world.web = page(ALICE)
    assert world.resolve() == ALICE


def test_a_handle_is_the_same_in_any_case(world: World) -> None:
    world.web = page(ALICE)
    assert world.resolve("Alice.BSKY.social") == ALICE
    assert world.dns.asked == [TXT]
    assert world.asked == [f"https://{HANDLE}/.well-known/atproto-did"]


def test_several_dids_in_dns_are_none_whatever_the_web_server_says(world: World) -> None:
    world.dns.records[TXT] = [f'"did={ALICE}"', f'"did={BOB}"']
    world.web = page(ALICE)
    error = world.raised()
    assert isinstance(error, HandleAmbiguousError)
    assert (error.code, error.dids) == ("handle_ambiguous", {ALICE, BOB})
    assert ALICE in error.message
    assert error.hint
    assert world.asked == []


@pytest.mark.parametrize("web", [page("", 404), page("<html>"), page(ALICE, 403)])
def test_a_handle_that_nobody_names_is_told_with_both_places(world: World, web: Handler) -> None:
    world.web = web
    error = world.raised()
    assert isinstance(error, HandleNotFoundError)
    assert error.code == "handle_not_found"
    assert TXT in error.message
    assert f"https://{HANDLE}/.well-known/atproto-did" in error.message


def test_a_handle_without_a_host_is_not_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror("no name")))
    assert world.raised().code == "handle_not_found"


def test_a_handle_without_a_host_is_in_doubt_where_dns_fails_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.dns.replies[TXT] = broken_dns
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror("no name")))
    assert world.raised().code == "dns_unavailable"


def test_no_word_from_the_web_server_is_no_proof_where_dns_fails(world: World) -> None:
    world.dns.replies[TXT] = broken_dns
    error = world.raised()
    assert isinstance(error, TransientError)
    assert error.code == "dns_unavailable"


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(("web", "kind"), [(page("", 503), ServerFault), (refusing, HostUnreachable)])
def test_a_web_server_that_cannot_answer_now_may_later(world: World, web: Handler, kind: type) -> None:
    world.web = web
    assert type(world.raised()) is kind


def test_a_handle_that_leads_inside_is_not_found_and_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    error = world.raised()
    assert isinstance(error, HandleNotFoundError)
    assert "169.254.169.254, which is not a public address" in error.message
    assert world.asked == []


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "alice",
        "alice@bsky.social",
        "@alice.bsky.social",
        "alice.bsky.social.",
        "1.2.3.4",
        "a." * 130 + "b",
        "x\n.y",
    ],
)
def test_what_is_no_handle_is_not_asked_for(world: World, handle: str) -> None:
    error = world.raised(handle)
    assert isinstance(error, HandleInvalidError)
    assert error.code == "handle_invalid"
    assert (world.dns.asked, world.asked) == ([], [])


@pytest.mark.parametrize(
    "handle",
    [
        *("a.alt", "blah.arpa", "alice.example", "db.internal", "handle.invalid", "laptop.local", "a.localhost"),
        *("2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion", "alice.test", "Laptop.LOCAL"),
    ],
)
def test_a_handle_below_a_reserved_domain_is_not_asked_for(world: World, handle: str) -> None:
    error = world.raised(handle)
    assert isinstance(error, HandleInvalidError)
    assert error.code == "handle_reserved"
    assert (world.dns.asked, world.asked) == ([], [])


@pytest.mark.parametrize("name", ["example.com", "local.net", "test.example.org", "testing", "nottest", ""])
def test_only_the_last_label_is_reserved(name: str) -> None:
    assert reserved_domain(name) is None


@pytest.mark.parametrize("name", ["laptop.local", "Laptop.LOCAL", "local"])
def test_a_domain_is_reserved_in_any_case(name: str) -> None:
    assert reserved_domain(name) == "local"


def knowing(accounts: dict[str, str]) -> Handler:
    """A test network's servers: each knows one account, by host."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/xrpc/com.atproto.identity.resolveHandle"
        assert request.url.params["handle"] == "alice.test"
        if request.url.host in accounts:
            return json_answer({"did": accounts[request.url.host]})
        return json_answer({"error": "HandleNotFound", "message": "Unable to resolve handle"}, 400)

    return answer


def test_a_test_networks_servers_are_asked_in_order_for_its_handles(world: World) -> None:
    world.test_pds_urls = ("http://first.test:2583", "http://second.test:2584", "http://third.test:2585")
    world.web = knowing({"second.test": ALICE, "third.test": BOB})
    assert world.resolve("Alice.test") == ALICE
    assert [httpx.URL(url).host for url in world.asked] == ["first.test", "second.test"]
    assert world.dns.asked == []


def test_a_handle_that_no_server_of_the_test_network_knows_is_not_found(world: World) -> None:
    world.test_pds_urls = ("http://first.test:2583",)
    world.web = knowing({})
    assert world.raised("alice.test").code == "handle_not_found"


def test_a_test_network_knows_no_other_reserved_domain(world: World) -> None:
    world.test_pds_urls = ("http://first.test:2583",)
    assert world.raised("alice.local").code == "handle_reserved"
    assert world.asked == []


@pytest.mark.parametrize("did", ["nobody", "did:plc:short", 7])
def test_a_server_that_names_no_did_is_told_so(world: World, did: object) -> None:
    world.test_pds_urls = ("http://first.test:2583",)
    world.web = lambda _: json_answer({"did": did})
    assert isinstance(world.raised("alice.test"), AnswerInvalid)


def test_a_test_server_that_is_no_longer_allowed_is_not_asked(world: World) -> None:
    http = httpx.Client(transport=httpx.MockTransport(world.answer))
    directory = Directory(http, HostPolicy(), "https://plc.directory", ("http://localhost:2583",))
    with pytest.raises(SettingsError) as caught:
        resolve_handle(directory, "alice.test")
    assert caught.value.code == "host_refused"
    assert world.asked == []


@pytest.mark.parametrize("kind", [HandleInvalidError, HandleNotFoundError, HandleAmbiguousError])
def test_a_broken_handle_stops_nothing_but_itself(kind: type) -> None:
    assert issubclass(kind, PermanentError)
