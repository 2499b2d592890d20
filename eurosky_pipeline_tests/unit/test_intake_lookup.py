"""Rows looked up: a handle alone becomes a DID, and what `--resolve` finds out about the others."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.intake.entries import Entry
from eurosky_pipeline.intake.lookup import Found, Lookup
from eurosky_pipeline.intake.rows import Rejected
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.unit.stub_dns import StubDns, stub_dns

ALICE, BOB = "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:z72i7hdynmk6r22z27h6tvur"
OLD, NEW = "https://old.bsky.social", "https://new.bsky.social"


@dataclass
class World:
    """DNS, and a PLC directory that knows Alice at `OLD`."""

    dns: StubDns
    handle: str = "alice.bsky.social"
    asked: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if not request.url.path.endswith(ALICE):
            return httpx.Response(404, content=iter([b""]))
        service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": OLD}
        document = {"id": ALICE, "alsoKnownAs": [f"at://{self.handle}"], "service": [service]}
        return httpx.Response(200, content=iter([json.dumps(document).encode()]))

    def look_up(self, *entries: Entry, is_each_checked: bool = False) -> dict[int, Found | Rejected]:
        http = httpx.Client(transport=httpx.MockTransport(self.answer))
        directory = Directory(http, HostPolicy(), "https://plc.directory", dns=self.dns.resolver)
        found = Lookup(lambda _: directory, is_each_checked=is_each_checked).look_up(entries)
        return {item.line if isinstance(item, Rejected) else item.entry.line: item for item in found}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    address = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: address)
    with stub_dns() as dns:
        dns.records["_atproto.alice.bsky.social"] = [f'"did={ALICE}"']
        dns.records["_atproto.bob.bsky.social"] = [f'"did={BOB}"']
        yield World(dns)


def entry(line: int = 2, did: str | None = None, handle: str | None = None, source: str = OLD) -> Entry:
    return Entry(line, did, handle, source, NEW, None, is_active_destination_allowed=False, passwords={})


def test_a_handle_alone_is_looked_up_both_ways_and_a_did_is_not(world: World) -> None:
    by_did = entry(3, did=BOB, handle="bob.bsky.social")
    found = world.look_up(entry(handle="alice.bsky.social"), by_did)
    assert found == {2: Found(entry(did=ALICE, handle="alice.bsky.social")), 3: Found(by_did)}
    assert world.asked == [f"https://plc.directory/{ALICE}"]


def test_a_handle_that_its_did_does_not_claim_or_that_nobody_has_is_rejected_by_itself(world: World) -> None:
    world.handle = "other.bsky.social"
    found = world.look_up(
        entry(2, handle="alice.bsky.social"), entry(3, handle="bob.bsky.social"), entry(4, handle="alice.test")
    )
    reasons = {line: item.reason for line, item in found.items() if isinstance(item, Rejected)}
    assert "claims the handle other.bsky.social" in reasons[2]
    assert BOB in reasons[3]
    assert "reserved" in reasons[4]


def test_asked_to_check_each_row_a_handle_of_another_did_is_rejected(world: World) -> None:
    found = world.look_up(entry(did=ALICE, handle="bob.bsky.social"), is_each_checked=True)[2]
    assert isinstance(found, Rejected)
    assert "bob.bsky.social names" in found.reason


def test_asked_to_check_each_row_another_server_than_the_source_is_a_warning(world: World) -> None:
    rows = (entry(2, did=ALICE, handle="alice.bsky.social", source=NEW), entry(3, did=ALICE, source=NEW))
    found = world.look_up(*rows, is_each_checked=True)
    for line in (2, 3):
        item = found[line]
        assert isinstance(item, Found)
        (warning,) = item.warnings
        assert f"names {OLD}, and not the source given, {NEW}" in warning


def test_asked_to_check_each_row_a_did_alone_gets_the_handle_that_names_it(world: World) -> None:
    assert world.look_up(entry(did=ALICE), is_each_checked=True)[2] == Found(
        entry(did=ALICE, handle="alice.bsky.social")
    )
    world.handle = "bob.bsky.social"
    doubted = world.look_up(entry(did=ALICE), is_each_checked=True)[2]
    assert isinstance(doubted, Found)
    assert doubted.entry.handle is None
    assert "not confirmed" in doubted.warnings[0]


def test_a_did_that_nobody_knows_is_rejected(world: World) -> None:
    assert isinstance(world.look_up(entry(did=BOB), is_each_checked=True)[2], Rejected)


def test_where_nobody_can_be_asked_just_now_a_did_is_taken_with_a_warning_and_a_handle_alone_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "answer", lambda *_: httpx.Response(503, content=iter([b""])))
    found = world.look_up(entry(2, did=ALICE), entry(3, handle="alice.bsky.social"), is_each_checked=True)
    assert isinstance(found[3], Rejected)
    assert isinstance(found[2], Found)
    assert "could not be checked just now" in found[2].warnings[0]


def test_who_has_stopped_it_asks_nobody_any_more(world: World) -> None:
    directory = Directory(
        httpx.Client(transport=httpx.MockTransport(world.answer)), HostPolicy(), "https://plc.directory"
    )
    lookup = Lookup(lambda _: directory, is_each_checked=True)
    lookup.stop.set()
    (found,) = lookup.look_up([entry(did=ALICE)])
    assert isinstance(found, Rejected)
    assert world.asked == []
