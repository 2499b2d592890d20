"""A logged-in account on one host, shared by all threads of a run.

The reference PDS allows few logins (30 in 5 minutes, 300 a day), rotates the refresh token at each use, and counts
five threads that refresh at once as five: so one session a host and run, renewed by whoever comes first.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field

from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError, FatalError, PermanentError, StoppedError, TransientError
from eurosky_pipeline.xrpc.client import Json, XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, AuthError, RequestRefused

CREATE_SESSION = "com.atproto.server.createSession"
REFRESH_SESSION = "com.atproto.server.refreshSession"

_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAX_TOKEN_CHARS = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What a login or a refresh brings; `received_s` is on the clock that no one sets."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    received_s: float = field(default_factory=time.monotonic)


class Session:
    """A session: open where `log_in` made it, and where `log_in_when_asked` did, from when a host first wants one.

    Implements `Authorization`.
    """

    def __init__(self, public: XrpcClient, did: str, password: SecretStr, tokens: _Tokens | None) -> None:
        self.did = did
        self._public = public
        self._password = password
        self._tokens = tokens
        self._lock = threading.Lock()
        self._attempts = 0  # that have ended
        self._failure: TransientError | None = None
        self._refusal: EuroskyError | None = None

    def __repr__(self) -> str:
        return f"Session(did={self.did!r}, host={self._public.host!r})"

    def access_token(self) -> str | None:
        """The token to send now; None while the session is not open."""
        return _access(self._tokens)

    def secrets(self) -> tuple[str, ...]:
        tokens = self._tokens
        return (self._password.get_secret_value(), *((tokens.access, tokens.refresh) if tokens else ()))

    def is_doubtful(self, token: str) -> bool:
        """Whether a host that fails (500) may do so because of this token; the reference PDS does on `uploadBlob`.

        So it is for a token that has been replaced meanwhile, one that has outlived what its own claims say, and one
        that is no token at all (a JWT); but the last only once a session, since a host may have a kind of its own.
        """
        tokens = self._tokens
        if tokens is None or token != tokens.access:
            return True
        lifetime_s = _lifetime_s(token)
        if lifetime_s is None:
            return self._attempts == 0
        return time.monotonic() - tokens.received_s >= lifetime_s

    def renew(self, stale_token: str | None, stop: threading.Event | None = None) -> None:
        """Replace the access token, if it is still `stale_token`; log in again where the refresh is refused, and where
        there is no session yet (None).

        Threads that ask while another one does it share what comes of that, a failure included.

        Args:
            stop: ends the wait for the host's leave; whoever waits for another thread waits until that one is done.

        Raises:
            StoppedError: `stop` was set.
            AuthError: the password is not, or no longer, accepted either; for good.
            FatalError, PermanentError: the host opened a session for another account, or none; for good.
            TransientError: the host cannot be asked just now.
        """
        attempts_seen = self._attempts
        with self._lock:
            if _access(self._tokens) != stale_token:
                return  # another thread has renewed it while this one waited
            if self._refusal is not None:
                raise self._refusal  # asking again, once a thread, would only use up the host's few logins
            if self._failure is not None and self._attempts != attempts_seen:
                raise self._failure  # of an attempt that ended while this thread waited
            try:
                public = self._public if stop is None else self._public.with_stop(stop)
                self._failure, self._tokens = None, self._renewed(public)
            except TransientError as error:
                self._failure = error
                raise
            finally:
                self._attempts += 1

    def _renewed(self, public: XrpcClient) -> _Tokens:
        tokens = self._tokens
        if tokens is None:
            return self._logged_in(public)
        try:
            refreshing = public.with_authorization(self)  # it knows what must not be repeated
            return _tokens_of(refreshing.procedure(REFRESH_SESSION, bearer=tokens.refresh), public.host)
        except (AuthError, RequestRefused):
            return self._logged_in(public)

    def _logged_in(self, public: XrpcClient) -> _Tokens:
        try:
            return _create_session(public, self.did, self._password)
        except StoppedError:  # somebody was in a hurry; the host has refused nothing
            raise
        except (FatalError, PermanentError) as error:
            self._refusal = error
            raise


def log_in(public: XrpcClient, did: str, password: SecretStr) -> Session:
    """Open a session for `did`.

    Raises:
        AuthError: wrong password, no such account, second factor, taken down.
        FatalError: the host opened a session for another account than the one asked for.
        TransientError: the host cannot be asked just now.
    """
    return Session(public, did, password, _create_session(public, did, password))


def log_in_when_asked(public: XrpcClient, did: str, password: SecretStr) -> Session:
    """A session that opens itself when the host does not answer a request without one, and then stays open.

    What is public is so asked for as the public asks, and a login made, once, only where it is needed: for an account
    that is deactivated, say. Never raises; what `log_in` would raise is raised by the request.
    """
    return Session(public, did, password, None)


def _create_session(public: XrpcClient, did: str, password: SecretStr) -> _Tokens:
    answer = public.procedure(CREATE_SESSION, {"identifier": did, "password": password})
    if answer.get("did") != did:
        raise FatalError(
            f"{public.host} opened a session for another account than {did}",
            code="wrong_account",
            hint="check the host; do not send it this password again",
        )
    return _tokens_of(answer, public.host)


def _access(tokens: _Tokens | None) -> str | None:
    return tokens.access if tokens else None


def _tokens_of(answer: Json, host: str) -> _Tokens:
    access, refresh = answer.get("accessJwt"), answer.get("refreshJwt")
    if not isinstance(access, str) or not isinstance(refresh, str):
        raise AnswerInvalid(f"{host} opened a session without tokens")
    if not _TOKEN.fullmatch(access) or not _TOKEN.fullmatch(refresh):
        raise AnswerInvalid(f"{host} opened a session with tokens that cannot stand in a header")
    return _Tokens(access, refresh)


def _lifetime_s(token: str) -> float | None:
    """Seconds from a JWT's `iat` to its `exp`, whatever this machine's clock says; infinite where it does not tell,
    None for what is no JWT (RFC 7519)."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _MAX_TOKEN_CHARS:
        return None
    try:
        header, claims = (json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return None
    issued_s, expires_s = claims.get("iat"), claims.get("exp")
    if not isinstance(issued_s, int) or not isinstance(expires_s, int) or expires_s <= issued_s:
        return math.inf
    return expires_s - issued_s
