"""Public calls without a session, and one login where the host asks for it: however many threads are refused."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.errors import EuroskyError, FatalError, StoppedError
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import get_blob, list_blobs
from eurosky_pipeline.xrpc.errors import AuthError, BlobNotFound, RepoUnavailable, RequestRefused, ServerFault
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.session import CREATE_SESSION, REFRESH_SESSION, log_in_when_asked
from eurosky_pipeline_tests.stub_pds import Answer, stub_pds

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PASSWORD = SecretStr("s3cret-password")
GET_BLOB = "com.atproto.sync.getBlob"
LIST_BLOBS = "com.atproto.sync.listBlobs"
CID = cid_of(b"abc", CODEC_RAW)
DEACTIVATED = (400, {"error": "RepoDeactivated", "message": "Repo has been deactivated"})
ASKING = {
    "deactivated": DEACTIVATED,
    "taken down": (400, {"error": "RepoTakendown"}),
    "suspended": (400, {"error": "RepoSuspended"}),
    "authentication": (401, {"error": "AuthenticationRequired"}),
    "missing": (401, {"error": "AuthMissing"}),
    "silent": (401, {}),
}


class Host:
    """A server that answers only to the account's newest token, or (`is_public`) to everybody."""

    def __init__(self, refusal: tuple[int, dict[str, str]] = DEACTIVATED, *, is_public: bool = False) -> None:
        self.asked: Counter[str] = Counter()
        self.bearers: list[str] = []
        self.is_public = is_public
        self.generation = 0
        self.login: tuple[int, dict[str, str]] | None = None
        self.together: threading.Barrier | None = None
        self._refusal = refusal
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        nsid, bearer = request.url.path.rpartition("/")[2], request.headers.get("authorization", "")
        with self._lock:
            self.asked[nsid] += 1
            if nsid not in (CREATE_SESSION, REFRESH_SESSION):
                self.bearers.append(bearer)
        if nsid == CREATE_SESSION and self.login is not None:
            return _answer(self.login[1], self.login[0])
        if nsid in (CREATE_SESSION, REFRESH_SESSION):
            with self._lock:
                self.generation += 1
                tokens = {"accessJwt": f"s3cret-access-{self.generation}", "refreshJwt": "s3cret-refresh"}
            return _answer({"did": DID, **tokens})
        if self.is_public or (self.generation and bearer == f"Bearer s3cret-access-{self.generation}"):
            if nsid == LIST_BLOBS:
                return _answer({"cids": [str(CID)]})
            return httpx.Response(200, content=iter([b"abc"]))
        if bearer:
            return _answer({"error": "ExpiredToken"}, 400)
        if self.together is not None:
            self.together.wait(10)  # until every thread has asked without a token
        return _answer(self._refusal[1], self._refusal[0])


def _answer(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=iter([json.dumps(body).encode()]))


def public(host: Host) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(host)), "https://old.example")


def on_demand(host: Host) -> XrpcClient:
    client = public(host)
    return client.with_authorization(log_in_when_asked(client, DID, PASSWORD))


def read(client: XrpcClient) -> bytes:
    with get_blob(client, DID, CID) as download:
        return b"".join(download.chunks)


def test_as_long_as_the_host_answers_without_a_session_none_is_opened() -> None:
    host = Host(is_public=True)
    client = on_demand(host)
    assert [read(client) for _ in range(3)] == [b"abc"] * 3
    assert list(list_blobs(client, DID)) == [CID]
    assert host.bearers == [""] * 4
    assert host.asked[CREATE_SESSION] == 0


@pytest.mark.parametrize("refusal", ASKING.values(), ids=ASKING)
def test_a_host_that_wants_the_account_itself_gets_one_login_and_its_token_from_then_on(
    refusal: tuple[int, dict[str, str]],
) -> None:
    host = Host(refusal)
    client = on_demand(host)
    assert [read(client) for _ in range(3)] == [b"abc"] * 3
    assert list(list_blobs(client, DID)) == [CID]
    assert host.bearers == ["", *["Bearer s3cret-access-1"] * 4]
    assert host.asked[CREATE_SESSION] == 1


@pytest.mark.parametrize("threads", [5, 20])
def test_any_number_of_threads_that_are_refused_log_in_once(threads: int) -> None:
    host = Host()
    host.together = threading.Barrier(threads)
    client = on_demand(host)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(lambda _: read(client), range(threads))) == [b"abc"] * threads
    assert host.asked == {CREATE_SESSION: 1, GET_BLOB: 2 * threads}


def test_without_a_password_the_refusal_stays_as_it_is_with_its_hint() -> None:
    host = Host()
    with pytest.raises(RepoUnavailable) as caught:
        read(public(host))
    assert caught.value.code == "repo_deactivated"
    assert "--source-password-env" in caught.value.hint
    assert host.asked == {GET_BLOB: 1}


def test_a_wrong_password_is_told_as_such_and_sent_once_by_however_many_threads() -> None:
    host = Host()
    host.login = (401, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"})
    host.together = threading.Barrier(5)
    client = on_demand(host)
    with ThreadPoolExecutor(5) as pool:
        failures = [future.exception() for future in [pool.submit(read, client) for _ in range(5)]]
    assert {type(failure) for failure in failures} == {AuthError}
    assert {failure.code for failure in failures if isinstance(failure, EuroskyError)} == {"wrong_password"}
    assert host.asked[CREATE_SESSION] == 1


def test_a_session_for_another_account_is_fatal() -> None:
    host = Host()
    host.login = (200, {"did": "did:plc:z72i7hdynmk6r22z27h6tvur", "accessJwt": "a", "refreshJwt": "r"})
    with pytest.raises(FatalError) as caught:
        read(on_demand(host))
    assert caught.value.code == "wrong_account"


def test_a_host_that_is_too_busy_for_the_login_may_be_asked_again() -> None:
    host = Host()
    host.login = (503, {})
    client = on_demand(host)
    with pytest.raises(ServerFault):
        read(client)
    host.login = None
    assert read(client) == b"abc"


def test_a_session_that_expires_is_renewed_as_any_other() -> None:
    host = Host()
    client = on_demand(host)
    assert read(client) == b"abc"
    host.generation += 1
    assert read(client) == b"abc"
    assert host.asked == {GET_BLOB: 4, CREATE_SESSION: 1, REFRESH_SESSION: 1}


def test_a_session_that_another_thread_opened_and_that_is_over_already_is_renewed() -> None:
    """Refused without a token, then with one that has expired meanwhile: the third try is let in."""
    host = Host()
    session = log_in_when_asked(public(host), DID, PASSWORD)

    def handle(request: httpx.Request) -> httpx.Response:
        answer = host(request)
        if host.asked == {GET_BLOB: 1}:
            session.renew(None)
            host.generation += 1
        return answer

    client = XrpcClient(httpx.Client(transport=httpx.MockTransport(handle)), "https://old.example")
    assert read(client.with_authorization(session)) == b"abc"
    assert host.asked == {GET_BLOB: 3, CREATE_SESSION: 1, REFRESH_SESSION: 1}


def test_a_refusal_that_a_session_does_not_change_is_told_and_not_a_loop() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        nsid = request.url.path.rpartition("/")[2]
        asked.append(nsid)
        if nsid in (CREATE_SESSION, REFRESH_SESSION):
            return _answer({"did": DID, "accessJwt": f"a{len(asked)}", "refreshJwt": "r"})
        return _answer({"error": "AuthenticationRequired"}, 401)

    client = XrpcClient(httpx.Client(transport=httpx.MockTransport(handle)), "https://old.example")
    with pytest.raises(AuthError):
        client.with_authorization(log_in_when_asked(client, DID, PASSWORD)).query(LIST_BLOBS)
    assert asked == [LIST_BLOBS, CREATE_SESSION, LIST_BLOBS, REFRESH_SESSION, LIST_BLOBS]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "InvalidRequest", "message": "Blob not found"}, BlobNotFound),
        (400, {"error": "RepoNotFound"}, RepoUnavailable),
        (403, {}, RequestRefused),
        (500, {}, ServerFault),
    ],
)
def test_another_refusal_does_not_cost_a_login(status: int, body: dict[str, str], kind: type[EuroskyError]) -> None:
    host = Host((status, body))
    with pytest.raises(kind):
        read(on_demand(host))
    assert host.asked == {GET_BLOB: 1}


def test_who_is_stopped_while_it_logs_in_has_not_been_refused() -> None:
    host, stop = Host(), threading.Event()
    pace = HostPace("old.example", max_wait_s=120)
    with pace.turn(CREATE_SESSION, stop) as turn:
        turn.heed(429, {"retry-after": "60"})
    client = public(host)
    session = log_in_when_asked(client.with_pace(pace, threading.Event()), DID, PASSWORD)
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(StoppedError):
        read(client.with_authorization(session).with_stop(stop))
    assert time.monotonic() - began_s < 5
    session._public = client
    assert read(client.with_authorization(session)) == b"abc"


def test_the_password_that_a_host_repeats_is_not_in_the_error() -> None:
    host = Host((400, {"error": "InvalidRequest", "message": "is it s3cret-password?"}))
    with pytest.raises(RequestRefused, match=r"is it …\?"):
        read(on_demand(host))


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with new_http_client(5, HostPolicy(is_private_allowed=True)) as client:
        yield client


def test_over_a_real_connection_five_threads_move_a_deactivated_accounts_blobs_with_one_login(
    http: httpx.Client,
) -> None:
    logins: list[int] = []

    def log_in(_: dict[str, str]) -> Answer:
        logins.append(1)
        return Answer.of_json({"did": DID, "accessJwt": "a", "refreshJwt": "r"})

    def blob(_: dict[str, str]) -> Answer:
        return Answer(b"abc", content_type="image/png") if logins else Answer.of_json(DEACTIVATED[1], 400)

    with stub_pds() as stub:
        stub.routes |= {CREATE_SESSION: log_in, GET_BLOB: blob}
        plain = XrpcClient(http, stub.url)
        with pytest.raises(RepoUnavailable):
            read(plain)
        client = plain.with_authorization(log_in_when_asked(plain, DID, PASSWORD))
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(lambda _: read(client), range(20))) == [b"abc"] * 20
    assert logins == [1]
