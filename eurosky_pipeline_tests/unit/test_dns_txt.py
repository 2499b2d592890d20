"""A handle's TXT record, asked for over a real socket: what names a DID, what does not, and when nobody can tell."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.resolver
import pytest

from eurosky_pipeline.errors import TransientError
from eurosky_pipeline.identity import dns_txt
from eurosky_pipeline.identity.dns_txt import DnsUnavailableError, txt_dids
from eurosky_pipeline_tests.unit.stub_dns import StubDns, cut, stub_dns

HANDLE = "alice.bsky.social"
NAME = f"_atproto.{HANDLE}"
ALICE = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BOB = "did:plc:z72i7hdynmk6r22z27h6tvur"


@pytest.fixture
def server() -> Iterator[StubDns]:
    with stub_dns() as running:
        yield running


def test_a_record_names_the_did(server: StubDns) -> None:
    server.records[NAME] = [f'"did={ALICE}"']
    assert txt_dids(HANDLE, server.resolver) == {ALICE}
    assert server.asked == [NAME]


@pytest.mark.parametrize(
    ("records", "dids"),
    [
        ([f'"did={ALICE}"', f'"did={BOB}"'], {ALICE, BOB}),
        ([f'"did={ALICE}"', f'"did=" "{ALICE}"'], {ALICE}),
        (['"did=did:plc:ewvi7nxz" "youn6zhxrhs64oiz"'], {ALICE}),
        ([f'"did={ALICE}"', '"v=spf1 -all"', '"did:plc:z72i7hdynmk6r22z27h6tvur"'], {ALICE}),
        ([f'"did={ALICE}"', '"did=nobody"', '"did="'], {ALICE}),
        (['"did=did:web:alice.bsky.social"'], {"did:web:alice.bsky.social"}),
        ([f'"DID={ALICE}"'], set()),
        ([f'" did={ALICE}"'], set()),
        ([f'"did={ALICE} "'], set()),
        (['"did=did:plc:SHOUTED7nxzyoun6zhxrhs64"'], set()),
        (['"did=did:plc:\\255\\254"'], set()),
        ([], set()),
    ],
)
def test_only_what_is_a_did_after_the_prefix_counts(server: StubDns, records: list[str], dids: set[str]) -> None:
    server.records[NAME] = records
    assert txt_dids(HANDLE, server.resolver) == dids


def test_a_name_that_does_not_exist_names_nobody(server: StubDns) -> None:
    assert txt_dids(HANDLE, server.resolver) == set()


def test_an_answer_too_large_for_udp_is_read_whole_over_tcp(server: StubDns) -> None:
    server.records[NAME] = [*(f'"{number} {"x" * 200}"' for number in range(40)), f'"did={ALICE}"', f'"did={BOB}"']
    assert txt_dids(HANDLE, server.resolver) == {ALICE, BOB}


def test_a_search_domain_of_this_machine_does_not_answer_for_the_handle(server: StubDns) -> None:
    server.resolver.search = [dns.name.from_text("corp.net.")]
    server.resolver.use_search_by_default = True
    server.records[f"{NAME}.corp.net"] = [f'"did={BOB}"']
    assert txt_dids(HANDLE, server.resolver) == set()
    assert server.asked == [NAME]


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_txt, "DNS_TIMEOUT_S", 0.6)


def failing(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def of_another_question(query: dns.message.Message) -> bytes:
    """What somebody who has not seen the question's number would send."""
    forged = dns.message.make_response(query)
    forged.id = query.id ^ 1
    forged.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "TXT", f'"did={BOB}"'))
    return forged.to_wire()


@pytest.mark.parametrize(
    "reply", [failing, of_another_question, lambda _: b"\x00", lambda query: query.to_wire()[:20], lambda _: None]
)
def test_a_server_that_gives_no_proper_answer_may_later(server: StubDns, no_patience: None, reply) -> None:
    server.replies[NAME] = reply
    started = time.monotonic()
    with pytest.raises(DnsUnavailableError, match=f"the TXT record of {NAME} could not be looked up") as caught:
        txt_dids(HANDLE, server.resolver)
    assert time.monotonic() - started < 3
    assert isinstance(caught.value, TransientError)
    assert caught.value.code == "dns_unavailable"


def test_an_answer_that_was_cut_short_is_not_taken_for_a_no(
    server: StubDns, no_patience: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "tcp", lambda _: b"")
    server.replies[NAME] = cut
    with pytest.raises(DnsUnavailableError):
        txt_dids(HANDLE, server.resolver)


def test_a_machine_without_name_servers_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def unset() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", unset)
    with pytest.raises(DnsUnavailableError, match="NoResolverConfiguration"):
        txt_dids(HANDLE)


def test_a_handle_too_long_for_the_prefix_is_not_asked_for(server: StubDns) -> None:
    long = ".".join(["a" * 61] * 4)  # 247 characters: a handle, and 256 with the prefix
    assert txt_dids(long, server.resolver) == set()
    assert server.asked == []
