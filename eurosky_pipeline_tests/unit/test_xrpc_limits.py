"""A host's limits as a client meets them: refusals in words, keys that lift them, few left and many who ask."""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.xrpc.client import BYPASS_HEADER, UploadBody, XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import RateLimited, RequestRefused
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import FIRST_HOLD_S, HostPace
from eurosky_pipeline.xrpc.session import CREATE_SESSION, REFRESH_SESSION, log_in
from eurosky_pipeline_tests.loopback import read_head, serving

NSID = "com.atproto.repo.uploadBlob"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
KEY = SecretStr("s3cret-key/+")


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, content=iter([json.dumps(body).encode()]))


def client_of(handler, **options) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(handler)), "https://pds.example", **options)


def test_a_key_goes_with_every_request_to_its_host_the_login_included(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None]] = []
    (tmp_path / "blob").write_bytes(b"x")

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.headers.get(BYPASS_HEADER)))
        return answer({"did": DID, "accessJwt": "a", "refreshJwt": "r"})

    public = client_of(handle, bypass=KEY)
    client = public.with_authorization(log_in(public, DID, SecretStr("pw"))).with_stop(threading.Event())
    client.query(NSID)
    client.head(NSID, {})
    client.upload(NSID, UploadBody(tmp_path / "blob", 1, "image/png"))
    with client.download(NSID, {}):
        pass
    assert seen == [(method, KEY.get_secret_value()) for method in ("POST", "GET", "HEAD", "POST", "GET")]


def test_without_a_key_there_is_no_such_header() -> None:
    client_of(lambda request: answer({"has": BYPASS_HEADER in request.headers})).query(NSID)
    assert client_of(lambda request: answer({"has": BYPASS_HEADER in request.headers})).query(NSID) == {"has": False}


def test_a_key_does_not_go_where_its_host_redirects_to() -> None:
    heads: list[str] = []

    def elsewhere(connection) -> None:
        heads.append(read_head(connection))

    with serving(elsewhere) as other, new_http_client(1, HostPolicy(is_private_allowed=True)) as http:

        def redirect(connection) -> None:
            heads.append(read_head(connection))
            head = f"HTTP/1.1 307 Temporary\r\nLocation: {other.url}/xrpc/{NSID}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())

        with serving(redirect) as server, pytest.raises(RequestRefused, match="redirects"):
            XrpcClient(http, server.url, bypass=KEY).query(NSID)
    assert [f"{BYPASS_HEADER}: {KEY.get_secret_value()}" in head for head in heads] == [True]


@pytest.mark.parametrize("status", [302, 400, 401, 413, 429, 500])
@pytest.mark.parametrize("place", ["error", "message", "location"])
def test_a_host_that_repeats_its_key_does_not_get_it_into_the_error(status: int, place: str) -> None:
    said = f"{'x' * 290} {KEY.get_secret_value()}"
    client = client_of(lambda _: answer({place: said}, status, {"location": said}), bypass=KEY)
    with pytest.raises(EuroskyError) as caught:
        client.query(NSID)
    assert "s3cr" not in caught.value.with_hint() + repr(caught.value) + repr(caught.value.__context__)


def test_neither_client_nor_log_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(lambda _: answer({}), bypass=KEY)
    client.query(NSID)
    assert "s3cret" not in f"{client!r}{vars(client)!r}{caplog.text}"


@pytest.mark.parametrize("status", [400, 503])
def test_a_refusal_for_asking_too_often_holds_the_others_back_whatever_its_status(status: int) -> None:
    waits: list[float] = []

    def pause(_: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += seconds
        return False

    clock = [0.0]
    pace = HostPace("pds.example", max_wait_s=120, clock=lambda: clock[0], pause=pause)
    answers = [answer({"error": "RateLimitExceeded"}, status), answer({"ok": True})]
    client = client_of(lambda _: answers.pop(0)).with_pace(pace, threading.Event())
    with pytest.raises(RateLimited):
        client.query(NSID)
    assert waits == []
    assert client.query(NSID) == {"ok": True}
    assert waits == [FIRST_HOLD_S]


def test_another_refusal_holds_nobody_back() -> None:
    pace = HostPace("pds.example", max_wait_s=120, pause=lambda *_: pytest.fail("it waited"))
    client = client_of(lambda _: answer({"error": "InvalidRequest"}, 400)).with_pace(pace, threading.Event())
    for _ in range(3):
        with pytest.raises(RequestRefused):
            client.query(NSID)


class Day:
    """A host with so many uploads left until tomorrow, that counts each when it comes and answers it late."""

    def __init__(self, left: int, *, tells: bool = True) -> None:
        self.left, self.refusals, self.stored = left, 0, 0
        self._tells = tells
        self._lock = threading.Lock()
        self._turn = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.left -= 1
            left, self._turn = self.left, self._turn + 1
            late_s = 0.05 if self._turn % 2 else 0.01  # answers overtake each other
        request.read()
        time.sleep(late_s)
        reset = {"ratelimit-reset": "80000"}
        told = {"ratelimit-limit": "1000", "ratelimit-remaining": str(max(0, left)), **reset} if self._tells else {}
        with self._lock:
            self.refusals += left < 0
            self.stored += left >= 0
        return answer({}, 429, {**told, "retry-after": "80000"}) if left < 0 else answer({"ok": True}, 200, told)


@pytest.mark.parametrize("left", [1, 3, 40])
def test_five_workers_use_up_what_is_left_of_a_day_and_are_not_refused_once(left: int, tmp_path: Path) -> None:
    """After the first answers have told: five are under way before anything is known."""
    (tmp_path / "blob").write_bytes(b"x" * 1000)
    host, pace = Day(left + 1), HostPace("pds.example", max_wait_s=120)
    client = client_of(host).with_pace(pace, threading.Event())
    body = UploadBody(tmp_path / "blob", 1000, "image/png")
    client.upload(NSID, body)

    def work(_: int) -> EuroskyError | None:
        try:
            client.upload(NSID, body)
        except EuroskyError as error:
            return error
        return None

    with ThreadPoolExecutor(5) as pool:
        failures = [error for error in pool.map(work, range(left + 20)) if error]
    assert (host.stored, host.refusals, len(failures)) == (left + 1, 0, 20)
    assert all(isinstance(error, RateLimited) and (error.retry_after_s or 0) > 79_000 for error in failures)


def test_where_the_host_does_not_tell_one_refusal_is_enough_for_those_who_have_not_begun(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    host, pace = Day(10, tells=False), HostPace("pds.example", max_wait_s=120)
    client = client_of(host).with_pace(pace, threading.Event())

    def work(_: int) -> type[BaseException] | None:
        try:
            client.upload(NSID, UploadBody(tmp_path / "blob", 1, "image/png"))
        except EuroskyError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(work, range(50)))
    assert (outcomes.count(None), outcomes.count(RateLimited)) == (10, 40)
    assert 1 <= host.refusals <= 5


def test_a_login_and_a_refresh_take_turns_of_their_own_and_nobody_waits_for_himself(tmp_path: Path) -> None:
    """Five uploads are refused at once for their token, on a host that has one upload at a time left."""
    (tmp_path / "blob").write_bytes(b"x" * 1000)
    asked: list[str] = []
    generation = [1]
    lock = threading.Lock()

    def handle(request: httpx.Request) -> httpx.Response:
        nsid = request.url.path.rpartition("/")[2]
        with lock:
            asked.append(nsid)
        few = {"ratelimit-limit": "1000", "ratelimit-remaining": "1", "ratelimit-reset": "80000"}
        if nsid in (CREATE_SESSION, REFRESH_SESSION):
            generation[0] += nsid == REFRESH_SESSION
            return answer({"did": DID, "accessJwt": f"a{generation[0]}", "refreshJwt": "r"}, 200, few)
        request.read()
        is_good = request.headers["authorization"] == "Bearer a2"
        return answer({"ok": True} if is_good else {"error": "ExpiredToken"}, 200 if is_good else 400, few)

    public = client_of(handle, pace=HostPace("pds.example", max_wait_s=120))
    client = public.with_authorization(log_in(public, DID, SecretStr("pw")))
    body = UploadBody(tmp_path / "blob", 1000, "image/png")
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(client.upload, NSID, body) for _ in range(20)]
        assert [future.result(20) for future in futures] == [{"ok": True}] * 20
    assert (asked.count(CREATE_SESSION), asked.count(REFRESH_SESSION)) == (1, 1)


def test_a_turn_does_not_last_as_long_as_the_body() -> None:
    pace = HostPace("pds.example", max_wait_s=120)
    reset = {"ratelimit-limit": "1000", "ratelimit-remaining": "1", "ratelimit-reset": "80000"}
    client = client_of(lambda _: httpx.Response(200, headers=reset, content=iter([b"abc"] * 3)), pace=pace)
    with client.download(NSID, {}) as first, client.download(NSID, {}) as second:
        assert b"".join(first.chunks) == b"".join(second.chunks) == b"abc" * 3
