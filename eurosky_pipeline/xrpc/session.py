"""A logged-in account on one host, shared by all threads of a run.

The reference PDS allows few logins (30 in 5 minutes, 300 a day), rotates the refresh token at each use, and counts
five threads that refresh at once as five: so one session a host and run, renewed by whoever comes first.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.xrpc.client import Json, XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, AuthError, RequestRefused

CREATE_SESSION = "com.atproto.server.createSession"
REFRESH_SESSION = "com.atproto.server.refreshSession"

_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class _Tokens:
    access: str = field(repr=False)
    refresh: str = field(repr=False)


class Session:
    """An open session; made by `log_in`. Implements `client.Authorization`."""

    def __init__(self, public: XrpcClient, did: str, password: SecretStr, tokens: _Tokens) -> None:
        self.did = did
        self._public = public
        self._password = password
        self._tokens = tokens
        self._refusal: AuthError | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Session(did={self.did!r}, host={self._public.host!r})"

    def access_token(self) -> str:
        return self._tokens.access

    def secrets(self) -> tuple[str, ...]:
        return (self._password.get_secret_value(), self._tokens.access, self._tokens.refresh)

    def renew(self, stale_token: str) -> None:
        """Replace the access token, if it is still `stale_token`; log in again where the refresh is refused.

        Raises:
            AuthError: the password is no longer accepted either.
            FatalError: the host opened a session for another account.
            TransientError: the host cannot be asked just now.
        """
        with self._lock:
            if self._tokens.access != stale_token:
                return  # another thread has renewed it while this one waited
            if self._refusal is not None:
                raise self._refusal  # asking again, once a thread, would only use up the host's few logins
            try:
                refreshing = self._public.with_authorization(self)  # it knows what must not be repeated
                answer = refreshing.procedure(REFRESH_SESSION, bearer=self._tokens.refresh)
            except (AuthError, RequestRefused):
                answer = self._log_in_again()
            self._tokens = _tokens_of(answer, self._public.host)

    def _log_in_again(self) -> Json:
        try:
            return _create_session(self._public, self.did, self._password)
        except AuthError as error:
            self._refusal = error
            raise


def log_in(public: XrpcClient, did: str, password: SecretStr) -> Session:
    """Open a session for `did`.

    Raises:
        AuthError: wrong password, no such account, second factor, taken down.
        FatalError: the host opened a session for another account than the one asked for.
        TransientError: the host cannot be asked just now.
    """
    answer = _create_session(public, did, password)
    return Session(public, did, password, _tokens_of(answer, public.host))


def _create_session(public: XrpcClient, did: str, password: SecretStr) -> Json:
    answer = public.procedure(CREATE_SESSION, {"identifier": did, "password": password})
    if answer.get("did") != did:
        raise FatalError(
            f"{public.host} opened a session for another account than {did}",
            code="wrong_account",
            hint="check the host; do not send it this password again",
        )
    return answer


def _tokens_of(answer: Json, host: str) -> _Tokens:
    access, refresh = answer.get("accessJwt"), answer.get("refreshJwt")
    if not isinstance(access, str) or not isinstance(refresh, str):
        raise AnswerInvalid(f"{host} opened a session without tokens")
    if not _TOKEN.fullmatch(access) or not _TOKEN.fullmatch(refresh):
        raise AnswerInvalid(f"{host} opened a session with tokens that cannot stand in a header")
    return _Tokens(access, refresh)
