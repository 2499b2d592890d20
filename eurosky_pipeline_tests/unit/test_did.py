"""DIDs: who is asked, what a document says, and what is no document of this account."""

import json
from collections.abc import Callable

import httpx
import pytest

from eurosky_pipeline.errors import FatalError, SettingsError, TransientError
from eurosky_pipeline.identity.did import DidDocument, DidNotFoundError, resolve_did
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, RateLimited, ServerFault
from eurosky_pipeline.xrpc.host_policy import HostPolicy

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PLC = "http://localhost:2582"
ANY_HOST = HostPolicy(is_private_allowed=True)
Handler = Callable[[httpx.Request], httpx.Response]


def resolve(handler: Handler, did: str = DID, policy: HostPolicy = ANY_HOST) -> DidDocument:
    return resolve_did(httpx.Client(transport=httpx.MockTransport(handler)), did, plc_url=PLC, policy=policy)


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


def pds_at(endpoint: object, identifier: object = "#atproto_pds") -> list[object]:
    return [{"id": identifier, "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}]


def test_the_directory_is_asked_for_a_did_plc() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return saying(document())(request)

    assert resolve(handle) == DidDocument(DID, "https://pds.example", "alice.example")
    assert asked == [f"{PLC}/{DID}"]


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:localhost", "https://localhost/.well-known/did.json"),
        ("did:web:localhost%3A2583", "https://localhost:2583/.well-known/did.json"),
        ("did:web:localhost%3a2583", "https://localhost:2583/.well-known/did.json"),
    ],
)
def test_the_domain_is_asked_for_its_did_web(did: str, url: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return saying(document(id=did))(request)

    assert resolve(handle, did).did == did
    assert asked == [url]


@pytest.mark.parametrize("did", ["did:web:localhost", "did:web:127.0.0.1", "did:web:169.254.169.254%3A80"])
def test_a_did_web_cannot_point_inside(did: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(lambda _: pytest.fail("it was asked"), did, HostPolicy())
    assert caught.value.code == "host_refused"


@pytest.mark.parametrize(
    "did", ["did:web:localhost:alice", "did:key:zQ3shok", "did:web:a%2Fb%40evil.example", "nobody"]
)
def test_a_did_that_cannot_be_asked_for_is_fatal(did: str) -> None:
    with pytest.raises(FatalError) as caught:
        resolve(lambda _: pytest.fail("it was asked"), did)
    assert caught.value.code in {"did_unsupported", "host_refused"}


@pytest.mark.parametrize(("status", "why"), [(404, "knows no such DID"), (410, "says that the DID has been given up")])
def test_a_did_that_nobody_has_is_told_with_the_host_that_said_so(status: int, why: str) -> None:
    with pytest.raises(DidNotFoundError, match=f"localhost:2582 {why}: {DID}") as caught:
        resolve(saying({"message": "DID not registered"}, status))
    assert caught.value.code == "did_not_found"


@pytest.mark.parametrize(("status", "kind"), [(500, ServerFault), (503, ServerFault), (429, RateLimited)])
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
        (b"", 302),
        ({"message": "bad"}, 400),
    ],
)
def test_what_is_no_document_of_this_did_is_refused(body: object, status: int) -> None:
    with pytest.raises(AnswerInvalid, match=f"localhost:2582 answered {status} without a document of {DID}"):
        resolve(saying(body, status))


@pytest.mark.parametrize(
    ("services", "pds_url"),
    [
        (pds_at("https://pds.example/"), "https://pds.example"),
        (pds_at("https://pds.example", f"{DID}#atproto_pds"), "https://pds.example"),
        (
            [{"id": "#atproto_labeler", "serviceEndpoint": "https://l.example"}, *pds_at("https://p.example")],
            "https://p.example",
        ),
        ([7, None, "x", *pds_at("https://pds.example")], "https://pds.example"),
        (pds_at({"uri": "https://pds.example"}), None),
        (pds_at(None), None),
        (pds_at("https://pds.example", "#atproto_pds_old"), None),
        (pds_at("https://pds.example", None), None),
        ([], None),
        (None, None),
        ({"id": "#atproto_pds"}, None),
        ("#atproto_pds", None),
    ],
)
def test_the_server_is_read_where_the_document_names_one(services: object, pds_url: str | None) -> None:
    assert resolve(saying(document(service=services))).pds_url == pds_url


@pytest.mark.parametrize(
    ("names", "handle"),
    [
        (["at://alice.example", "at://second.example"], "alice.example"),
        (["https://alice.example", "at://alice.example"], "alice.example"),
        ([7, None, {"at://": 1}, "at://alice.example"], "alice.example"),
        (["https://alice.example"], None),
        ([], None),
        (None, None),
        ("at://alice.example", None),
        ({"at://alice.example": 1}, None),
    ],
)
def test_the_handle_is_the_first_at_name(names: object, handle: str | None) -> None:
    assert resolve(saying(document(alsoKnownAs=names))).handle == handle
