"""When a session is renewed though nobody said that its token is stale, and what threads share that wait for it."""

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError, FatalError, TransientError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, RateLimited, RequestRefused, ServerFault
from eurosky_pipeline.xrpc.session import CREATE_SESSION, REFRESH_SESSION, Session, _Tokens, log_in

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PASSWORD = SecretStr("s3cret-password")
WORK = "com.atproto.repo.uploadBlob"
LIFETIME_S = 7200


def jwt(number: int, claims: object | None = None) -> str:
    claims = {"iat": 1_700_000_000, "exp": 1_700_000_000 + LIFETIME_S, "n": number} if claims is None else claims
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "ES256K"}, claims)]
    return ".".join([*parts, "c2ln"])


class Host:
    """A server that fails (500) at every token but the newest, instead of refusing it."""

    def __init__(self, first: str = "", later: str = "") -> None:
        self.asked: Counter[str] = Counter()
        self.generation = 0
        self.is_well = True
        self.refresh_may_end = lambda: True
        self.refresh_answer: tuple[int, dict[str, str]] | None = None
        self.login_answer: tuple[int, dict[str, str]] | None = None
        self._first, self._later = first, later
        self._lock = threading.Lock()

    def access(self) -> str:
        return (self._later if self.generation else self._first) or jwt(self.generation)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        nsid = request.url.path.rpartition("/")[2]
        with self._lock:
            self.asked[nsid] += 1
        if nsid == WORK:
            is_good = self.is_well and request.headers["authorization"] == f"Bearer {self.access()}"
            return _answer({"done": True}) if is_good else _answer({"error": "InternalServerError"}, 500)
        if nsid == REFRESH_SESSION:
            deadline_s = time.monotonic() + 30
            while not self.refresh_may_end() and time.monotonic() < deadline_s:
                time.sleep(0.01)
            if self.refresh_answer:
                return _answer(self.refresh_answer[1], self.refresh_answer[0])
            self.generation += 1
        elif self.login_answer:
            return _answer(self.login_answer[1], self.login_answer[0])
        return _answer({"did": DID, "accessJwt": self.access(), "refreshJwt": f"refresh-{self.generation}"})


def _answer(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=iter([json.dumps(body).encode()]))


def opened(host: Host) -> tuple[XrpcClient, Session]:
    public = XrpcClient(httpx.Client(transport=httpx.MockTransport(host)), "https://pds.example")
    session = log_in(public, DID, PASSWORD)
    return public.with_authorization(session), session


class CountingLock:
    """A lock that knows how many have come to it."""

    def __init__(self) -> None:
        self._lock, self._count_lock, self.came = threading.Lock(), threading.Lock(), 0

    def __enter__(self) -> None:
        with self._count_lock:
            self.came += 1
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def age(session: Session, seconds: float) -> None:
    session._tokens = replace(session._tokens, received_s=session._tokens.received_s - seconds)


def test_a_host_that_fails_at_a_token_past_its_time_gets_a_new_one_once() -> None:
    host = Host()
    client, session = opened(host)
    host.is_well = False
    for aged_s, refreshes in [(LIFETIME_S - 60, 0), (60, 1), (0, 1)]:
        age(session, aged_s)
        with pytest.raises(ServerFault):
            client.query(WORK)
        assert host.asked[REFRESH_SESSION] == refreshes


def test_the_request_is_made_again_with_the_new_token() -> None:
    host = Host()
    client, session = opened(host)
    session._tokens = _Tokens(jwt(7), "refresh-0", time.monotonic() - LIFETIME_S)
    assert client.query(WORK) == {"done": True}
    assert host.asked == {CREATE_SESSION: 1, WORK: 2, REFRESH_SESSION: 1}


def test_this_machines_clock_does_not_make_a_token_old() -> None:
    host = Host(first=jwt(0, {"iat": 5, "exp": 10}))
    client, _ = opened(host)
    host.is_well = False
    with pytest.raises(ServerFault):
        client.query(WORK)
    assert host.asked[REFRESH_SESSION] == 0


@pytest.mark.parametrize("first", ["garbage", "a.b.c", "e30.e30", "W10.e30.c2ln", "{}.{}.{}", "x" * 20_000])
def test_a_token_that_is_none_is_replaced_when_the_host_fails(first: str) -> None:
    client, session = opened(host := Host())
    session._tokens = _Tokens(first, "refresh-0")
    assert client.query(WORK) == {"done": True}
    assert host.asked[REFRESH_SESSION] == 1


def test_a_host_with_tokens_of_its_own_kind_is_renewed_once_a_session_and_not_at_each_failure() -> None:
    host = Host(first="opaque-0", later="opaque-1")
    client, _ = opened(host)
    host.is_well = False
    for _ in range(5):
        with pytest.raises(ServerFault):
            client.query(WORK)
    assert host.asked[REFRESH_SESSION] == 1


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": 10},
        {"iat": "1", "exp": "2"},
        {"iat": 10, "exp": 10},
        {"iat": 10, "exp": 3},
        {"iat": 0, "exp": 9**999},
    ],
)
def test_a_token_that_does_not_tell_its_time_is_never_past_it(claims: dict[str, object]) -> None:
    host = Host(first=jwt(0, claims))
    client, session = opened(host)
    host.is_well = False
    age(session, 1e9)
    with pytest.raises(ServerFault):
        client.query(WORK)
    assert host.asked[REFRESH_SESSION] == 0


def test_a_token_that_was_replaced_meanwhile_is_the_one_to_blame() -> None:
    _, session = opened(Host())
    assert session.is_doubtful("the one before")
    assert not session.is_doubtful(session.access_token())


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, ServerFault), (503, ServerFault)])
def test_threads_that_wait_for_a_refresh_share_its_failure_and_later_ones_try_again(
    status: int, kind: type[TransientError]
) -> None:
    host = Host()
    _, session = opened(host)
    stale = session.access_token()
    host.refresh_answer = (status, {})
    session._lock = lock = CountingLock()
    host.refresh_may_end = lambda: lock.came >= 8

    def renew() -> EuroskyError | None:
        try:
            session.renew(stale)
        except EuroskyError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        failures = [future.result(20) for future in [pool.submit(renew) for _ in range(8)]]
    assert {type(failure) for failure in failures} == {kind}
    assert host.asked[REFRESH_SESSION] == 1
    host.refresh_answer = None
    session.renew(stale)
    assert host.asked == {CREATE_SESSION: 1, REFRESH_SESSION: 2}


@pytest.mark.parametrize(
    ("login", "kind"),
    [
        ((401, {"error": "AuthenticationRequired"}), FatalError),
        ((400, {"error": "InvalidRequest"}), RequestRefused),
        ((200, {"did": "did:plc:z72i7hdynmk6r22z27h6tvur"}), FatalError),
        ((200, {"did": DID, "accessJwt": "", "refreshJwt": ""}), AnswerInvalid),
    ],
    ids=["wrong password", "refused", "another account", "no tokens"],
)
def test_a_login_that_did_not_work_out_is_not_tried_with_the_password_again(
    login: tuple[int, dict[str, str]], kind: type[EuroskyError]
) -> None:
    host = Host()
    _, session = opened(host)
    host.refresh_answer, host.login_answer = (400, {"error": "ExpiredToken"}), login
    for _ in range(3):
        with pytest.raises(kind):
            session.renew(session.access_token())
    assert host.asked == {CREATE_SESSION: 2, REFRESH_SESSION: 1}


def test_a_login_that_the_host_was_too_busy_for_may_be_tried_again() -> None:
    host = Host()
    _, session = opened(host)
    host.refresh_answer, host.login_answer = (400, {"error": "ExpiredToken"}), (429, {})
    with pytest.raises(RateLimited):
        session.renew(session.access_token())
    host.login_answer = None
    before = session.access_token()
    host.generation = 1
    session.renew(before)
    assert session.access_token() != before
