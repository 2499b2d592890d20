"""DIDs: who is asked, what is no document of this account, and who can have none."""

import json
import socket
from collections.abc import Callable

import httpx
import pytest

from eurosky_pipeline.errors import SettingsError, TransientError
from eurosky_pipeline.identity.did import MAX_DOCUMENT_BYTES, DidInvalidError, DidNotFoundError, resolve_did
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.document import DidDocument
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, RateLimited, ServerFault
from eurosky_pipeline.xrpc.host_policy import HostPolicy

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PLC = "http://localhost:2582"
ANY_HOST = HostPolicy(is_private_allowed=True)
Handler = Callable[[httpx.Request], httpx.Response]


def resolve(handler: Handler, did: str = DID, policy: HostPolicy = ANY_HOST) -> DidDocument:
    return resolve_did(Directory(httpx.Client(transport=httpx.MockTransport(handler)), policy, PLC), did)


def saying(body: object, status: int = 200) -> Handler:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx.Response(status, content=iter([raw]))


def document(**fields: object) -> dict[str, object]:
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": DID,
        "alsoKnownAs": ["at://alice.example"],
        "service": [
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example"}
        ],
        **fields,
    }


def test_the_directory_is_asked_for_a_did_plc() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return saying(document())(request)

    assert resolve(handle) == DidDocument(DID, "https://pds.example", "alice.example")
    assert asked == [f"{PLC}/{DID}"]


@pytest.fixture
def public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is a public server's, wherever the tests run."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:bsky.team", "https://bsky.team/.well-known/did.json"),
        ("did:web:xn--fiq.a-b.example.com", "https://xn--fiq.a-b.example.com/.well-known/did.json"),
        ("did:web:localhost", "http://localhost/.well-known/did.json"),
        ("did:web:localhost%3A2583", "http://localhost:2583/.well-known/did.json"),
        ("did:web:localhost%3a2583", "http://localhost:2583/.well-known/did.json"),
    ],
)
def test_the_domain_is_asked_for_its_did_web(public_names: None, did: str, url: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return saying(document(id=did))(request)

    assert resolve(handle, did).did == did
    assert asked == [url]


@pytest.mark.parametrize("did", ["did:web:localhost", "did:web:localhost%3A2583"])
def test_localhost_is_for_test_networks_only(did: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(lambda _: pytest.fail("it was asked"), did, HostPolicy())
    assert caught.value.code == "host_refused"


def test_a_did_web_cannot_point_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(SettingsError) as caught:
        resolve(lambda _: pytest.fail("it was asked"), "did:web:inside.bsky.team", HostPolicy())
    assert caught.value.code == "host_refused"


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("nobody", "did_invalid"),
        ("did:plc:short", "did_invalid"),
        ("did:plc:ewvi7nxzyoun6zhxrhs64oiz/../x", "did_invalid"),
        ("did:web:", "did_invalid"),
        ("did:web:" + "a" * 2048, "did_invalid"),
        ("did:web:bsky.team%3A8443", "did_invalid"),
        ("did:web:bsky.team%3A443", "did_invalid"),
        ("did:web:localhost%3A", "did_invalid"),
        ("did:web:localhost%3A123456", "did_invalid"),
        ("did:web:localhost%3A25%383", "did_invalid"),
        ("did:web:%6cocalhost", "did_invalid"),
        ("did:web:bsky%2Eteam", "did_invalid"),
        ("did:web:a%2Fb%40evil.net", "did_invalid"),
        ("did:web:BSKY.team", "did_invalid"),
        ("did:web:bsky.team.", "did_invalid"),
        ("did:web:-bsky.team", "did_invalid"),
        ("did:web:single", "did_invalid"),
        ("did:web:127.0.0.1", "did_invalid"),
        ("did:web:2130706433", "did_invalid"),
        ("did:web:169.254.169.254%3A80", "did_invalid"),
        ("did:web:printer.local", "did_invalid"),
        ("did:web:alice.test", "did_invalid"),
        ("did:web:a.localhost", "did_invalid"),
        ("did:web:bsky.team:alice", "did_unsupported"),
        ("did:web:localhost:alice", "did_unsupported"),
        ("did:key:zQ3shok", "did_unsupported"),
        ("did:ion:x:y", "did_unsupported"),
    ],
)
def test_a_did_that_cannot_have_a_document_is_not_asked_for(did: str, code: str) -> None:
    with pytest.raises(DidInvalidError) as caught:
        resolve(lambda _: pytest.fail("it was asked"), did)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "message", "why", "code"),
    [
        (404, f"DID not registered: {DID}", "knows no such DID", "did_not_found"),
        (404, "", "knows no such DID", "did_not_found"),
        (404, f"DID not available: {DID}", "says that the DID has been given up", "did_tombstoned"),
        (410, "", "says that the DID has been given up", "did_tombstoned"),
    ],
)
def test_a_did_that_nobody_has_is_told_with_the_host_that_said_so(
    status: int, message: str, why: str, code: str
) -> None:
    with pytest.raises(DidNotFoundError, match=f"localhost:2582 {why}: {DID}") as caught:
        resolve(saying({"message": message}, status))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ServerFault), (503, ServerFault), (408, ServerFault), (429, RateLimited)]
)
def test_a_directory_that_cannot_answer_now_may_later(status: int, kind: type[TransientError]) -> None:
    with pytest.raises(TransientError, match=f"localhost:2582 answered {status} to {DID}") as caught:
        resolve(saying(b"<html>busy</html>", status))
    assert type(caught.value) is kind


def test_a_directory_that_is_not_there_may_be_later() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(HostUnreachable, match="localhost:2582 could not be connected to"):
        resolve(refuse)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        (b"", 200),
        ([document()], 200),
        ({}, 200),
        (document(id="did:plc:z72i7hdynmk6r22z27h6tvur"), 200),
        (document(id=None), 200),
        (document(id=DID.upper()), 200),
        (document(id=f"{DID}#"), 200),
        (document(id=[DID]), 200),
        (b"[" * 100_000, 200),
        (b'{"id": ' + b"9" * 100_000 + b"}", 200),
        (b"\xff\xfe" + json.dumps(document()).encode(), 200),
        (b"", 302),
        (document(), 302),
        (document(), 203),
        (document(), 400),
        ({"message": "bad"}, 400),
    ],
)
def test_what_is_no_document_of_this_did_is_refused(body: object, status: int) -> None:
    with pytest.raises(AnswerInvalid, match=f"localhost:2582 answered {status} without a document of {DID}"):
        resolve(saying(body, status))


def test_a_redirect_is_not_followed() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": f"{PLC}/elsewhere"}, content=iter([b""]))

    with pytest.raises(AnswerInvalid):
        resolve(handle)
    assert asked == [f"{PLC}/{DID}"]


def test_a_document_larger_than_any_honest_one_is_not_read_to_its_end() -> None:
    sent = []

    def endless():
        while True:
            sent.append(1)
            yield b" " * 65_536

    with pytest.raises(AnswerInvalid, match=f"more than {MAX_DOCUMENT_BYTES} bytes"):
        resolve(lambda _: httpx.Response(200, content=endless()))
    assert len(sent) <= MAX_DOCUMENT_BYTES // 65_536 + 2


def test_a_document_of_just_the_bound_is_read() -> None:
    raw = json.dumps(document()).encode()
    assert resolve(saying(raw + b" " * (MAX_DOCUMENT_BYTES - len(raw)))).did == DID
