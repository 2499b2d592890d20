"""Handle and DID held against each other, and against what a migration was told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.message
import httpx
import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, sign
from eurosky_pipeline.atproto.keys import Curve, signing_key_of
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.identity import dns_txt
from eurosky_pipeline.identity.account import (
    AccountCheck,
    HandleMismatchError,
    Identity,
    check_account,
    identify,
    signature_doubt,
)
from eurosky_pipeline.identity.did import DidInvalidError, DidNotFoundError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.document import DidDocument, DocumentKey
from eurosky_pipeline.identity.handle import HandleNotFoundError
from eurosky_pipeline.xrpc.errors import AnswerInvalid
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.unit.stub_dns import StubDns, stub_dns

ALICE = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BOB = "did:plc:z72i7hdynmk6r22z27h6tvur"
EVE = "did:plc:44ybard66vv44zksje25o7dz"
HANDLE = "alice.bsky.social"
PDS = "https://pds.bsky.social"
KEY = "zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF"


def document(did: str = ALICE, **fields: object) -> dict[str, object]:
    return {
        "id": did,
        "alsoKnownAs": [f"at://{HANDLE}"],
        "verificationMethod": [
            {"id": f"{did}#atproto", "type": "Multikey", "controller": did, "publicKeyMultibase": KEY}
        ],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": PDS}],
        **fields,
    }


@dataclass
class World:
    """DNS, and a PLC directory; no other server answers."""

    dns: StubDns
    documents: dict[str, dict[str, object]] = field(default_factory=lambda: {ALICE: document()})
    plc_status: int = 200

    def name(self, handle: str, *dids: str) -> None:
        self.dns.records[f"_atproto.{handle}"] = [f'"did={did}"' for did in dids]

    def answer(self, request: httpx.Request) -> httpx.Response:
        did = request.url.path.removeprefix("/")
        if request.url.host != "plc.directory" or did not in self.documents:
            return httpx.Response(404, content=iter([b""]))
        return httpx.Response(self.plc_status, content=iter([json.dumps(self.documents[did]).encode()]))

    @property
    def directory(self) -> Directory:
        http = httpx.Client(transport=httpx.MockTransport(self.answer))
        return Directory(http, HostPolicy(), "https://plc.directory", dns=self.dns.resolver)

    def check(self, handle: str | None = HANDLE, did: str = ALICE, source_pds: str = PDS) -> AccountCheck:
        return check_account(self.directory, did=did, handle=handle, source_pds=source_pds)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with stub_dns() as running:
        running.records[f"_atproto.{HANDLE}"] = [f'"did={ALICE}"']
        yield World(running)


@pytest.mark.parametrize("name", [ALICE, HANDLE, "Alice.BSKY.social"])
def test_handle_and_did_that_name_each_other_are_one_identity(world: World, name: str) -> None:
    expected = Identity(ALICE, HANDLE, True, PDS, DocumentKey("Multikey", KEY))
    assert identify(world.directory, name) == expected


def test_a_handle_that_its_did_does_not_claim_is_nobodys(world: World) -> None:
    world.name("alice.evil.net", ALICE)
    with pytest.raises(HandleMismatchError, match=f"alice.evil.net names {ALICE}, and that claims the handle {HANDLE}"):
        identify(world.directory, "alice.evil.net")


def test_a_second_name_in_the_document_is_not_the_handle(world: World) -> None:
    world.name("second.bsky.social", ALICE)
    world.documents[ALICE] = document(alsoKnownAs=[f"at://{HANDLE}", "at://second.bsky.social"])
    with pytest.raises(HandleMismatchError) as caught:
        identify(world.directory, "second.bsky.social")
    assert caught.value.code == "handle_mismatch"


@pytest.mark.parametrize(
    ("claimed", "named", "doubt"),
    [
        ("at://eve.bsky.social", (), "eve.bsky.social names no DID"),
        ("at://eve.bsky.social", (BOB,), f"eve.bsky.social names another DID, {BOB}"),
        ("at://eve.bsky.social", (BOB, EVE), "name 2 DIDs"),
        ("at://handle.invalid", (), "reserved domain"),
        ("https://bsky.social", (), "claims no handle"),
    ],
)
def test_a_did_is_an_account_whatever_its_handle_is_worth(
    world: World, claimed: str, named: tuple[str, ...], doubt: str
) -> None:
    world.documents[EVE] = document(EVE, alsoKnownAs=[claimed])
    if named:
        world.name("eve.bsky.social", *named)
    found = identify(world.directory, EVE)
    assert (found.did, found.pds_url, found.is_handle_verified) == (EVE, PDS, False)
    assert doubt in found.doubt


@pytest.mark.parametrize(
    ("name", "kind"),
    [(BOB, DidNotFoundError), ("did:key:zQ3sh", DidInvalidError), ("bob.bsky.social", HandleNotFoundError)],
)
def test_who_nobody_knows_is_an_error(world: World, name: str, kind: type) -> None:
    with pytest.raises(kind):
        identify(world.directory, name)


def test_a_migration_that_was_told_the_truth_gets_no_warning(world: World) -> None:
    found = world.check()
    assert (found.is_handle_verified, found.warnings) == (True, ())
    assert found.document is not None
    assert found.document.signing_key == DocumentKey("Multikey", KEY)


def test_a_migration_without_a_handle_asks_for_none(world: World) -> None:
    found = world.check(handle=None)
    assert (found.is_handle_verified, found.warnings) == (False, ())
    assert world.dns.asked == []


@pytest.mark.parametrize("named", [(BOB,), (BOB, EVE)])
def test_a_handle_of_another_account_stops_the_migration(world: World, named: tuple[str, ...]) -> None:
    world.name(HANDLE, *named)
    with pytest.raises(HandleMismatchError, match=f"names {min(named, default='')}|names {EVE}") as caught:
        world.check()
    assert caught.value.code == "handle_mismatch"
    assert isinstance(caught.value, FatalError)
    assert ALICE in caught.value.message
    assert "migration" in caught.value.hint


def test_a_handle_of_another_account_stops_the_migration_where_the_document_cannot_be_read(world: World) -> None:
    world.name(HANDLE, BOB)
    world.plc_status = 503
    with pytest.raises(HandleMismatchError):
        world.check()


@pytest.mark.parametrize(
    ("handle", "named", "warning"),
    [
        (HANDLE, (ALICE, BOB), "the handle is in doubt"),
        (HANDLE, (), "the handle could not be confirmed: alice.bsky.social names no DID"),
        ("alice.local", (), "the handle could not be confirmed: alice.local is below the reserved domain .local"),
    ],
)
def test_a_handle_that_proves_nothing_is_a_warning(
    world: World, handle: str, named: tuple[str, ...], warning: str
) -> None:
    world.name(handle, *named)
    world.documents[ALICE] = document(alsoKnownAs=[f"at://{handle}"])
    found = world.check(handle)
    assert not found.is_handle_verified
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(warning) or warning in found.warnings[0]


def test_a_handle_that_cannot_be_asked_for_now_is_a_warning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_txt, "DNS_TIMEOUT_S", 0.6)
    world.dns.replies[f"_atproto.{HANDLE}"] = lambda query: dns.message.make_response(query).to_wire()[:20]
    found = world.check()
    assert not found.is_handle_verified
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"the handle could not be confirmed: the TXT record of _atproto.{HANDLE}")


@pytest.mark.parametrize(
    ("names", "claim"),
    [(["at://new.bsky.social"], "the handle new.bsky.social"), ([], "no handle"), (None, "no handle")],
)
def test_a_handle_that_the_document_does_not_claim_is_a_warning(world: World, names: object, claim: str) -> None:
    world.documents[ALICE] = document(alsoKnownAs=names)
    found = world.check()
    assert not found.is_handle_verified
    assert found.warnings == (f"the DID document claims {claim}, and not the handle given, {HANDLE}",)


@pytest.mark.parametrize(
    ("endpoint", "warnings"),
    [
        ("https://PDS.bsky.social:443/", ()),
        (
            "https://other.bsky.social",
            (f"the DID document names https://other.bsky.social, and not the source given, {PDS}",),
        ),
        ("https://pds.bsky.social/path", ("the DID document names no server that could be asked",)),
        (None, ("the DID document names no server that could be asked",)),
    ],
)
def test_another_server_in_the_document_is_a_warning(world: World, endpoint: object, warnings: tuple[str, ...]) -> None:
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}
    world.documents[ALICE] = document(service=[service])
    found = world.check()
    assert found.warnings == warnings
    assert found.is_handle_verified


def test_a_document_that_cannot_be_read_now_is_a_warning(world: World) -> None:
    world.plc_status = 503
    found = world.check()
    assert (found.document, found.is_handle_verified) == (None, False)
    assert len(found.warnings) == 1
    assert "could not be read" in found.warnings[0]


def test_a_did_that_nobody_knows_stops_the_migration(world: World) -> None:
    with pytest.raises(DidNotFoundError):
        world.check(handle=None, did=BOB)


def test_another_accounts_document_stops_the_migration(world: World) -> None:
    world.documents[BOB] = document(ALICE)
    with pytest.raises(AnswerInvalid):
        world.check(handle=None, did=BOB)


SIGNER = signing_key_of(Curve.K256, bytes(range(32)))
COMMIT = Commit(ALICE, 3, cid_of(b"tree"), "3jzfcijpj2z2a", None, VOID_SIGNATURE)


def with_key(key: DocumentKey | None) -> DidDocument:
    return DidDocument(ALICE, PDS, HANDLE, key)


def test_a_commit_signed_by_the_key_of_the_document_leaves_no_doubt():
    signed = sign(COMMIT, SIGNER)
    assert signature_doubt(with_key(DocumentKey("Multikey", SIGNER.public_key.multikey)), signed) == ""


@pytest.mark.parametrize(
    ("found", "because"),
    [
        pytest.param(None, "not known", id="no document"),
        pytest.param(with_key(None), "not known", id="no key"),
        pytest.param(with_key(DocumentKey("Multikey", KEY)), "not signed by", id="another key"),
        pytest.param(with_key(DocumentKey("Multikey", "z" + "1" * 40)), "key", id="what is no key"),
    ],
)
def test_any_other_commit_is_in_doubt_with_a_reason(found, because):
    assert because in signature_doubt(found, sign(COMMIT, SIGNER))


def test_a_commit_that_nobody_has_signed_is_in_doubt():
    document_key = DocumentKey("Multikey", SIGNER.public_key.multikey)
    assert "signed by nobody" in signature_doubt(with_key(document_key), COMMIT)
