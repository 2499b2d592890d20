"""HEAD requests, and requests at a host's pace: treated as all others are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import httpx
import pytest

from eurosky_pipeline.errors import EuroskyError, StoppedError
from eurosky_pipeline.xrpc.client import Announced, XrpcClient
from eurosky_pipeline.xrpc.errors import (
    AnswerInvalid,
    AuthError,
    HostUnreachable,
    RateLimited,
    RequestRefused,
    ServerFault,
)
from eurosky_pipeline.xrpc.pacing import GRACE_S, HostPace

NSID = "com.example.some.method"
EMPTY: list[bytes] = []
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(handler)), "https://pds.example")


class Tokens:
    """An authorization that counts how often it was renewed."""

    def __init__(self) -> None:
        self.stale: list[str] = []

    def access_token(self) -> str:
        return f"token-{len(self.stale)}"

    def secrets(self) -> tuple[str, ...]:
        return ()

    def renew(self, stale_token: str | None, stop: threading.Event) -> None:
        self.stale.append(stale_token)

    def is_doubtful(self, token: str) -> bool:
        return False


def test_head_asks_as_get_would_and_tells_what_it_would_bring() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("HEAD", f"https://pds.example/xrpc/{NSID}?cid=x")
        assert request.headers["accept-encoding"] == "identity"
        assert request.extensions["timeout"]["read"] == 7
        return httpx.Response(200, headers={"content-length": "6"}, content=iter(EMPTY))

    assert client_of(handle).head(NSID, {"cid": "x"}, timeout_s=7) == Announced(6)


@pytest.mark.parametrize("headers", [{}, {"content-length": "six"}, {"content-length": "6", "content-encoding": "br"}])
def test_what_head_does_not_tell_is_not_known(headers: dict[str, str]) -> None:
    assert client_of(lambda _: httpx.Response(200, headers=headers, content=iter(EMPTY))).head(NSID, {}) == Announced(
        None
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, AnswerInvalid),
        (302, RequestRefused),
        (400, RequestRefused),
        (403, AuthError),
        (404, RequestRefused),
        (429, RateLimited),
        (500, ServerFault),
    ],
)
def test_a_refusal_of_head_is_told_by_its_status(status: int, kind: type[EuroskyError]) -> None:
    with pytest.raises(kind):
        client_of(lambda _: httpx.Response(status, content=iter(EMPTY))).head(NSID, {})


def test_a_connection_that_breaks_is_told_as_one() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("peer closed connection")

    with pytest.raises(HostUnreachable):
        client_of(cut).head(NSID, {})


def test_a_stale_token_is_renewed_for_head_too() -> None:
    tokens, seen = Tokens(), []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.headers["authorization"]))
        return httpx.Response(401 if len(seen) == 1 else 200, headers={"content-length": "6"}, content=iter(EMPTY))

    assert client_of(handle).with_authorization(tokens).head(NSID, {}) == Announced(6)
    assert seen == [("HEAD", "Bearer token-0"), ("HEAD", "Bearer token-1")]


def answer_of(status: int, headers: dict[str, str] | None = None) -> Handler:
    return lambda _: httpx.Response(status, headers=headers, content=iter([json.dumps({}).encode()]))


def test_every_kind_of_request_asks_for_its_turn_and_reports_what_the_host_told() -> None:
    waits: list[float] = []

    def pause(_: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += seconds
        return False

    clock = [0.0]
    pace = HostPace("pds.example", max_wait_s=120, clock=lambda: clock[0], pause=pause)
    headers = {"ratelimit-remaining": "0", "ratelimit-reset": "10"}
    client = client_of(answer_of(200, headers)).with_pace(pace, threading.Event()).with_authorization(Tokens())
    client.query(NSID)
    client.head(NSID, {})
    client.procedure(NSID)
    with client.download(NSID, {}):
        pass
    assert waits == [10 + GRACE_S] * 3


def test_the_token_is_the_one_of_after_the_wait() -> None:
    tokens, seen = Tokens(), []

    def pause(_: threading.Event, seconds: float) -> bool:
        tokens.stale.append("another thread has renewed it")
        clock[0] += seconds
        return False

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return answer_of(200, {"ratelimit-remaining": "0", "ratelimit-reset": "10"})(request)

    clock = [0.0]
    pace = HostPace("pds.example", max_wait_s=120, clock=lambda: clock[0], pause=pause)
    client = client_of(handle).with_authorization(tokens).with_pace(pace, threading.Event())
    client.query(NSID)
    client.query(NSID)
    assert seen == ["Bearer token-0", "Bearer token-1"]


def test_clients_of_one_host_share_what_one_of_them_was_told() -> None:
    pace, stop = HostPace("pds.example", max_wait_s=5), threading.Event()
    refused, other = client_of(answer_of(429, {"retry-after": "60"})), client_of(answer_of(200))
    with pytest.raises(RateLimited):
        refused.with_pace(pace, stop).query(NSID)
    with pytest.raises(RateLimited, match="allows no more"):
        other.with_pace(pace, stop).query(NSID)
    assert other.query(NSID) == {}, "without a pace nothing is waited for"


def test_a_client_that_is_asked_to_stop_sends_nothing() -> None:
    stop = threading.Event()
    stop.set()
    client = client_of(lambda _: pytest.fail("it was sent")).with_pace(HostPace("pds.example", max_wait_s=5), stop)
    with pytest.raises(StoppedError):
        client.query(NSID)
