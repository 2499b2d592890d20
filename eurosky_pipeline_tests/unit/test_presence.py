"""Whether a server has a blob: its own answer to the question for it."""

from __future__ import annotations

import threading

import httpx
import pytest

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.transfer.presence import Presence, each_presence
from eurosky_pipeline.xrpc.errors import AuthError, HostUnreachable, RateLimited, ServerFault
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

GONE = cid_of(b"gone")


@pytest.fixture
def server() -> FakePds:
    return FakePds("new.example")


def look(server: FakePds, *cids: Cid, stop: threading.Event | None = None) -> dict[Cid, Presence]:
    answers = each_presence(server.client, "did:plc:x", cids, workers=3, stop=stop or threading.Event())
    return {found.blob_cid: found for found in answers}


def test_what_it_gives_out_is_there_and_what_it_does_not_is_not(server: FakePds) -> None:
    cid = server.put(b"a")
    found = look(server, cid, GONE)
    assert (found[cid].is_there, found[GONE].is_there) == (True, False)


@pytest.mark.parametrize("knows_head", [True, False])
def test_the_size_that_it_announces_is_told(server: FakePds, knows_head: bool) -> None:
    cid = server.put(b"abcdef")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD" and not knows_head:
            return json_answer({}, 405)
        body = [] if request.method == "HEAD" else [b"abcdef"]
        return httpx.Response(200, headers={"content-length": "6"}, content=iter(body))

    server.faults["getBlob"] = answer
    assert look(server, cid)[cid] == Presence(cid, is_there=True, size_bytes=6)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: json_answer({}, 500), ServerFault),
        (lambda: json_answer({}, 429), RateLimited),
        (lambda: json_answer({"error": "RepoDeactivated"}, 400), None),
    ],
)
def test_what_is_neither_yes_nor_no_is_told_as_that(server: FakePds, answer, kind: type | None) -> None:
    server.faults["getBlob"] = lambda _: answer()
    found = look(server, GONE)[GONE]
    assert found.is_there is None
    assert found.error is not None
    assert kind is None or isinstance(found.error, kind)


def test_no_answer_is_no_answer(server: FakePds) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    server.faults["getBlob"] = broken
    assert isinstance(look(server, GONE)[GONE].error, HostUnreachable)


def test_a_refused_session_is_raised(server: FakePds) -> None:
    server.faults["getBlob"] = lambda _: json_answer({"error": "AuthFactorTokenRequired"}, 401)
    with pytest.raises(AuthError):
        look(server, GONE)


def test_it_stops_when_asked_to(server: FakePds) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        look(server, GONE, stop=stop)
    assert server.asked == []
