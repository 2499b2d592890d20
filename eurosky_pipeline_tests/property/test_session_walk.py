"""Any walk of many threads over one session, against a server that expires, rotates, refuses and fails as it likes."""

import json
import threading
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass, field

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import AuthError
from eurosky_pipeline.xrpc.session import REFRESH_SESSION, log_in, log_in_when_asked

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
SECRET = "s3cret-"  # every secret below begins so
PASSWORD = SecretStr(f"{SECRET}password")
WORK = "com.example.work"
PATIENCE_S = 20.0


@dataclass
class Counts:
    """What the server was asked, and how it answered; one for each stretch of work that is looked at."""

    logins: int = 0
    logins_refused: int = 0
    refreshes: int = 0
    refreshes_refused: int = 0
    refreshes_failed: int = 0
    tokens_reused: int = 0
    expiries: int = 0
    without_a_token: int = 0


@dataclass
class ModelServer:
    """One account: one good access token at a time, each refresh token good once."""

    generation: int = 0
    is_access_good: bool = True
    is_refresh_good: bool = True
    is_password_good: bool = True
    trouble: list[int] = field(default_factory=list)
    expire_after: int | None = None
    is_opened: bool = True
    counts: Counts = field(default_factory=Counts)
    sent: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def expire(self) -> None:
        if self.is_access_good:
            self.counts.expiries += 1
        self.is_access_good = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        nsid = request.url.path.rpartition("/")[2]
        if nsid != WORK:
            time.sleep(0.003)  # long enough for the others to come, were they let
        with self._lock:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if nsid == WORK:
                return self._work(token)
            return self._refresh(token) if nsid == REFRESH_SESSION else self._login(request)

    def _work(self, token: str) -> httpx.Response:
        if not token:
            assert not self.is_opened_for(threading.get_ident())
            self.counts.without_a_token += 1
            return _refusal(401, "AuthenticationRequired", "no token")
        generation = int(token.removeprefix(f"{SECRET}access-"))
        is_good = self.is_access_good and generation == self.generation
        self.sent[threading.get_ident()].append((generation, generation < self.generation))
        if self.expire_after is not None:
            self.expire_after -= 1
            if self.expire_after < 0:
                self.expire_after = None
                self.expire()
        return _answer({"done": True}) if is_good else _refusal(400, "ExpiredToken", token)

    def is_opened_for(self, thread: int) -> bool:
        """Whether a thread has sent a token before: from then on it sends none without."""
        return bool(self.sent[thread])

    def _refresh(self, token: str) -> httpx.Response:
        self.counts.refreshes += 1
        if self.trouble:
            self.counts.refreshes_failed += 1
            return _refusal(self.trouble.pop(), "Trouble", token)
        is_newest = token == f"{SECRET}refresh-{self.generation}"
        if not self.is_refresh_good or not is_newest:
            self.counts.refreshes_refused += 1
            self.counts.tokens_reused += not is_newest
            return _refusal(400, "ExpiredToken", token)
        return self._new_tokens()

    def _login(self, request: httpx.Request) -> httpx.Response:
        self.counts.logins += 1
        assert json.loads(request.content)["password"] == PASSWORD.get_secret_value()
        if not self.is_password_good:
            self.counts.logins_refused += 1
            return _refusal(401, "AuthenticationRequired", "another password")
        return self._new_tokens()

    def _new_tokens(self) -> httpx.Response:
        self.generation += 1
        self.is_access_good = self.is_refresh_good = True
        tokens = {f"{kind}Jwt": f"{SECRET}{kind}-{self.generation}" for kind in ("access", "refresh")}
        return _answer({"did": DID, **tokens})


def _answer(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=iter([json.dumps(body).encode()]))


def _refusal(status: int, name: str, secret: str) -> httpx.Response:
    return _answer({"error": name, "message": f"you sent {secret}, and know {PASSWORD.get_secret_value()}"}, status)


class SessionWalk(RuleBasedStateMachine):
    """Stretches of work by many threads at once; between them, and during them, things happen to the account."""

    @initialize(is_open=st.booleans())
    def open(self, is_open: bool) -> None:
        self.server = ModelServer()
        public = XrpcClient(httpx.Client(transport=httpx.MockTransport(self.server)), "https://pds.example")
        session = log_in(public, DID, PASSWORD) if is_open else log_in_when_asked(public, DID, PASSWORD)
        self.client = public.with_authorization(session)
        self.server.counts = Counts()
        self.server.is_opened = is_open
        self.refusal: EuroskyError | None = None

    @rule(after=st.integers(0, 12))
    def it_will_expire_in_the_middle_of_the_work(self, after: int) -> None:
        self.server.expire_after = after

    @rule()
    def somebody_ends_all_sessions(self) -> None:
        self.server.expire()
        self.server.is_refresh_good = False

    @rule(statuses=st.lists(st.sampled_from([429, 500, 503]), min_size=1, max_size=3))
    def the_server_has_trouble_with_refreshing(self, statuses: list[int]) -> None:
        self.server.trouble = statuses

    @precondition(lambda self: self.server.is_password_good)
    @rule()
    def the_password_is_changed(self) -> None:
        self.server.is_password_good = False

    @rule(threads=st.integers(2, 6), requests=st.integers(1, 3), is_token_old=st.booleans())
    def threads_work(self, threads: int, requests: int, is_token_old: bool) -> None:
        if is_token_old:
            self.server.expire()
        counts, self.server.sent = self.server.counts, defaultdict(list)
        outcomes = self._work(threads, requests)
        errors = [outcome for outcome in outcomes if outcome is not None]

        # the server's account of it: nobody renews what is good, and no renewal is made twice
        succeeded = counts.refreshes - counts.refreshes_refused - counts.refreshes_failed
        let_in = counts.logins - counts.logins_refused
        opened = int(counts.without_a_token > 0)  # by a login that no refresh goes before
        assert succeeded + let_in <= counts.expiries + opened
        assert counts.refreshes <= counts.expiries + counts.refreshes_failed
        assert counts.logins <= counts.refreshes_refused + opened
        assert counts.without_a_token <= (0 if self.server.is_opened else threads * requests)
        self.server.is_opened = self.server.is_opened or let_in > 0
        assert counts.logins_refused <= 1
        assert counts.tokens_reused == 0
        for sent in self.server.sent.values():
            generations = [generation for generation, _ in sent]
            assert generations == sorted(generations)
            replaced = [generation for generation, is_replaced in sent if is_replaced]
            assert len(replaced) == len(set(replaced))  # a thread that was told so does not send it again

        # the threads' account of it
        if self.refusal is not None:
            assert counts.logins == counts.refreshes == 0
            assert set(errors) <= {self.refusal}
        elif counts.logins_refused:
            refusals = {error for error in errors if isinstance(error, AuthError) and error.code == "wrong_password"}
            assert len(refusals) == 1
            self.refusal = refusals.pop()
        for error in errors:
            is_in_trouble = isinstance(error, TransientError) and counts.refreshes_failed > 0
            is_expired_twice = isinstance(error, AuthError) and error.code == "session_expired" and counts.expiries > 1
            assert error is self.refusal or is_in_trouble or is_expired_twice
            _assert_silent(error)
        is_expired_still = not self.server.is_access_good
        self.server.counts = Counts(expiries=int(is_expired_still))

    def _work(self, threads: int, requests: int) -> list[EuroskyError | None]:
        together = threading.Barrier(threads)
        outcomes: list[EuroskyError | None] = []
        unexpected: list[BaseException] = []

        def work() -> None:
            try:
                together.wait(PATIENCE_S)
                for _ in range(requests):
                    try:
                        assert self.client.query(WORK) == {"done": True}
                        outcomes.append(None)
                    except EuroskyError as error:
                        outcomes.append(error)
            except BaseException as error:
                unexpected.append(error)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        deadline_s = time.monotonic() + PATIENCE_S
        for worker in workers:
            worker.join(max(0.0, deadline_s - time.monotonic()))
        assert not any(worker.is_alive() for worker in workers), "the threads wait for each other"
        assert unexpected == []
        assert len(outcomes) == threads * requests
        return outcomes

    @invariant()
    def nothing_shows_a_secret(self) -> None:
        if hasattr(self, "client"):
            assert SECRET not in f"{self.client!r}{vars(self.client)!r}"


def _assert_silent(error: EuroskyError) -> None:
    texts = [str(error), repr(error), error.with_hint(), repr(vars(error)), repr(error.__context__)]
    assert SECRET not in "\n".join([*texts, *traceback.format_exception(error)])


SessionWalk.TestCase.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSessionWalk = SessionWalk.TestCase
