"""One session for all threads, renewed once; and a host that knows the password does not get it into an error."""

import json
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError, FatalError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, AuthError, RequestRefused, ServerFault
from eurosky_pipeline.xrpc.session import CREATE_SESSION, REFRESH_SESSION, Session, log_in

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
PASSWORD = SecretStr("s3cret-password")
SECRET = "s3" + "cret"  # begins every secret below; in two pieces, since a traceback shows the tests' own lines
WORK = "com.example.work"
Handler = Callable[[httpx.Request], httpx.Response]


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, content=iter([json.dumps(body).encode()]))


def client_of(handler: Handler) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(handler)), "https://pds.example")


class Host:
    """A server that takes one access token at a time and each refresh token once, and counts what it is asked."""

    def __init__(self, *, late: threading.Barrier | None = None) -> None:
        self.asked: Counter[str] = Counter()
        self.refresh_answers: Callable[[], httpx.Response] | None = None
        self.login_answers: Callable[[], httpx.Response] | None = None
        self._late = late
        self._generation = 0
        self._lock = threading.Lock()

    def expire(self) -> None:
        self._generation += 1

    def __call__(self, request: httpx.Request) -> httpx.Response:
        nsid, bearer = request.url.path.rpartition("/")[2], request.headers.get("authorization", "")
        with self._lock:
            self.asked[nsid] += 1
        if nsid == WORK:
            if bearer == f"Bearer s3cret-access-{self._generation}":
                return answer({"done": True})
            if self._late is not None:
                self._late.wait(10)  # until every thread has been refused
            return answer({"error": "ExpiredToken"}, 400)
        if nsid == REFRESH_SESSION:
            time.sleep(0.05)
            if self.refresh_answers is not None:
                return self.refresh_answers()
            if not bearer.startswith("Bearer s3cret-refresh-"):
                return answer({"error": "InvalidToken"}, 401)
            self.expire()
        elif self.login_answers is not None:
            return self.login_answers()
        return answer(self.tokens())

    def tokens(self) -> dict[str, str]:
        number = self._generation
        return {"did": DID, "accessJwt": f"s3cret-access-{number}", "refreshJwt": f"s3cret-refresh-{number}"}


def logged_in(host: Handler) -> XrpcClient:
    public = client_of(host)
    return public.with_authorization(log_in(public, DID, PASSWORD))


@pytest.mark.parametrize("threads", [5, 20])
def test_any_number_of_threads_refresh_an_expired_session_once(threads: int) -> None:
    host = Host(late=threading.Barrier(threads))
    client = logged_in(host)
    host.expire()
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(lambda _: client.query(WORK), range(threads)))
    assert answers == [{"done": True}] * threads
    assert host.asked == {CREATE_SESSION: 1, REFRESH_SESSION: 1, WORK: 2 * threads}


def test_the_rotated_refresh_token_is_used_the_next_time() -> None:
    host = Host()
    client = logged_in(host)
    for _ in range(3):
        host.expire()
        assert client.query(WORK) == {"done": True}
    assert (host.asked[REFRESH_SESSION], host.asked[CREATE_SESSION]) == (3, 1)


@pytest.mark.parametrize(("status", "name"), [(400, "ExpiredToken"), (401, "InvalidToken"), (400, "Gone"), (404, "")])
def test_a_refused_refresh_logs_in_again_with_the_password(status: int, name: str) -> None:
    host = Host()
    client = logged_in(host)
    host.expire()
    host.refresh_answers = lambda: answer({"error": name}, status)
    assert client.query(WORK) == {"done": True}
    assert host.asked == {CREATE_SESSION: 2, REFRESH_SESSION: 1, WORK: 2}


def test_a_host_that_fails_while_refreshing_does_not_cost_a_login() -> None:
    host = Host()
    client = logged_in(host)
    host.expire()
    host.refresh_answers = lambda: answer({}, 503)
    with pytest.raises(ServerFault):
        client.query(WORK)
    assert host.asked[CREATE_SESSION] == 1


def test_a_password_that_was_changed_meanwhile_is_an_error_of_authority() -> None:
    host = Host()
    client = logged_in(host)
    host.expire()
    host.refresh_answers = lambda: answer({"error": "ExpiredToken"}, 400)
    host.login_answers = lambda: answer({"error": "AuthenticationRequired", "message": "Invalid password"}, 401)
    with pytest.raises(AuthError) as caught:
        client.query(WORK)
    assert caught.value.code == "wrong_password"


def test_a_refused_login_is_not_tried_again_by_every_thread() -> None:
    host = Host()
    client = logged_in(host)
    host.expire()
    host.refresh_answers = lambda: answer({"error": "ExpiredToken"}, 400)
    host.login_answers = lambda: answer({"error": "AuthenticationRequired", "message": "Invalid password"}, 401)
    with ThreadPoolExecutor(20) as pool:
        failures = [pool.submit(client.query, WORK).exception() for _ in range(20)]
    assert {type(failure) for failure in failures} == {AuthError}
    assert host.asked[CREATE_SESSION] == 2  # the one that opened the session, and the one that was refused


def test_a_login_sends_the_did_and_the_password_and_nothing_else() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == f"https://pds.example/xrpc/{CREATE_SESSION}"
        assert json.loads(request.content) == {"identifier": DID, "password": "s3cret-password"}
        return answer(Host().tokens())

    assert log_in(client_of(handle), DID, PASSWORD).did == DID


@pytest.mark.parametrize("did", [OTHER_DID, None, ""])
def test_a_session_for_another_account_is_fatal(did: str | None) -> None:
    with pytest.raises(FatalError) as caught:
        log_in(client_of(lambda _: answer({**Host().tokens(), "did": did})), DID, PASSWORD)
    assert caught.value.code == "wrong_account"


def test_a_second_login_for_another_account_is_fatal_too() -> None:
    host = Host()
    client = logged_in(host)
    host.expire()
    host.refresh_answers = lambda: answer({}, 401)
    host.login_answers = lambda: answer({**host.tokens(), "did": OTHER_DID})
    with pytest.raises(FatalError) as caught:
        client.query(WORK)
    assert caught.value.code == "wrong_account"


@pytest.mark.parametrize("name", ["accessJwt", "refreshJwt"])
@pytest.mark.parametrize("value", [None, "", 7, "s3cret\r\nHost: evil.example", "s3crét", "two s3cret words"])
def test_a_session_without_usable_tokens_is_no_session(name: str, value: object) -> None:
    with pytest.raises(AnswerInvalid, match="opened a session with") as caught:
        log_in(client_of(lambda _: answer({**Host().tokens(), name: value})), DID, PASSWORD)
    assert SECRET[:4] not in caught.value.message


def every_text_of(error: EuroskyError) -> str:
    texts = [str(error), repr(error), repr(error.args), error.message, error.hint, error.with_hint(), error.code]
    return "\n".join([*texts, repr(vars(error)), *traceback.format_exception(error)])


def caught_from(host: Handler, act: Callable[[XrpcClient], object]) -> str:
    with pytest.raises(EuroskyError) as caught:
        act(client_of(host))
    chained = caught.value.__cause__ or caught.value.__context__
    return every_text_of(caught.value) + repr(chained)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 413, 429, 500])
@pytest.mark.parametrize("place", ["error", "message", "location"])
@pytest.mark.parametrize("padding", ["", "x" * 294], ids=["whole", "at the cut"])
def test_a_host_that_repeats_the_password_at_login_does_not_get_it_into_the_error(
    status: int, place: str, padding: str
) -> None:
    def hostile(request: httpx.Request) -> httpx.Response:
        said = padding + json.loads(request.content)["password"]
        return answer({place: said}, status, {"location": said})

    assert SECRET not in caught_from(hostile, lambda public: log_in(public, DID, PASSWORD))


@pytest.mark.parametrize("secret", ["s3cret-password", "s3cret-access-0", "s3cret-refresh-0"])
def test_a_host_that_repeats_a_secret_later_does_not_get_it_into_the_error_either(secret: str) -> None:
    host = Host()

    def hostile(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(WORK):
            return answer({"error": "InvalidRequest", "message": f"I know {secret}!"}, 400)
        return host(request)

    def work(public: XrpcClient) -> None:
        public.with_authorization(log_in(public, DID, PASSWORD)).query(WORK)

    text = caught_from(hostile, work)
    assert SECRET not in text
    assert "I know …!" in text


def test_a_refused_refresh_that_repeats_its_token_is_silent_about_it() -> None:
    host = Host()
    host.refresh_answers = lambda: answer({"message": "not s3cret-refresh-0, nor s3cret-password"}, 503)

    def work(public: XrpcClient) -> None:
        client = public.with_authorization(log_in(public, DID, PASSWORD))
        host.expire()
        client.query(WORK)

    assert SECRET not in caught_from(host, work)


def test_neither_session_nor_client_shows_a_secret() -> None:
    public = client_of(Host())
    session = log_in(public, DID, PASSWORD)
    assert repr(session) == f"Session(did='{DID}', host='pds.example')"
    assert isinstance(session, Session)
    for shown in (session, public.with_authorization(session), vars(session), [session]):
        assert SECRET not in f"{shown!r} {shown}"


def test_an_empty_password_is_sent_and_refused_like_any_other() -> None:
    public = client_of(lambda _: answer({"error": "AuthenticationRequired", "message": "no"}, 401))
    with pytest.raises(AuthError, match=r"\(AuthenticationRequired: no\)"):
        log_in(public, DID, SecretStr(""))


def test_a_login_that_is_refused_for_another_reason_keeps_that_reason() -> None:
    public = client_of(lambda _: answer({"error": "InvalidRequest", "message": "identifier is malformed"}, 400))
    with pytest.raises(RequestRefused, match="identifier is malformed"):
        log_in(public, DID, PASSWORD)
