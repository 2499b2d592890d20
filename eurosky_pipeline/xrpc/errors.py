"""From an HTTP answer, or the lack of one, to a type in the error tree. This happens here and nowhere else.

TransientError
 +-- HostUnreachable      no connection, a reset, a time-out, a body cut short
 +-- RateLimited          429; `retry_after_s` from the headers
 +-- ServerFault          5xx
PermanentError
 +-- BlobNotFound · BlobTooLarge · BlobTakenDown
 +-- RequestRefused       any other 4xx
 +-- AnswerInvalid        an answer that its lexicon does not allow
FatalError
 +-- AuthError            password, second factor, token, app password
 +-- RepoUnavailable      the host has no such repo, or does not give it out

Status and name pairs follow the reference PDS and the others that FACTS of the field name: a missing blob is 400
`InvalidRequest` on one server and 404 `BlobNotFound` on another, an expired token is 400 and not 401.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

import httpx

from eurosky_pipeline.errors import EuroskyError, FatalError, PermanentError, TransientError

_MAX_SERVER_TEXT = 300
_LEAST_UNIX_S = 1e9

EXPIRED_TOKEN_NAMES = frozenset({"ExpiredToken", "InvalidToken"})
"""Error names with which a server says that a session's access token has to be renewed."""


class HostUnreachable(TransientError):
    """No complete answer came from the host."""

    default_code = "host_unreachable"


class RateLimited(TransientError):
    """429: the host asks for patience."""

    default_code = "rate_limited"


class ServerFault(TransientError):
    """5xx: the host failed, or says so."""

    default_code = "server_fault"


class BlobNotFound(PermanentError):
    """The host does not have this blob."""

    default_code = "missing_at_source"


class BlobTooLarge(PermanentError):
    """The blob is larger than the host, or this pipeline, accepts."""

    default_code = "too_large"


class BlobTakenDown(PermanentError):
    """A moderator has taken this blob down."""

    default_code = "taken_down"


class RequestRefused(PermanentError):
    """The host understood the request and refuses it."""

    default_code = "request_refused"


class AnswerInvalid(PermanentError):
    """The host's answer is not what the endpoint's lexicon promises."""

    default_code = "answer_invalid"


class AuthError(FatalError):
    """The host does not accept who we say we are."""

    default_code = "auth"


class RepoUnavailable(FatalError):
    """The host does not have the repo, or does not hand it out."""

    default_code = "repo_unavailable"


_AUTH_HINTS = {
    "AuthFactorTokenRequired": (
        "auth_factor_required",
        "the account has e-mail two-factor login; switch it off for the migration",
    ),
    "AccountTakedown": ("account_taken_down", "the host's moderators have to lift this first"),
    "ExpiredToken": ("session_expired", "run the migration again; a new session will be opened"),
    "InvalidToken": ("session_invalid", "run the migration again; a new session will be opened"),
    "AccountDeactivated": ("account_deactivated", "log in with the account's own credentials"),
}

_REPO_HINTS = {
    "RepoNotFound": ("repo_not_found", "check the DID, and that this is the host that holds the account now"),
    "RepoDeactivated": ("repo_deactivated", "give the account's password with --source-password-env"),
    "RepoTakendown": ("repo_taken_down", "the host's moderators have to lift this first"),
    "RepoSuspended": ("repo_suspended", "the host's moderators have to lift this first"),
}


def error_for_answer(
    status: int,
    body: Mapping[str, object],
    *,
    host: str,
    nsid: str,
    headers: Mapping[str, str] | None = None,
    hidden: Iterable[str] = (),
) -> EuroskyError:
    """The typed error for an answer that is not a success.

    Args:
        status: HTTP status, outside 200–299.
        body: the decoded JSON body, `{"error": name, "message": text}` by the XRPC specification; may be empty.
        host: the host that answered, for the message.
        nsid: the endpoint that was asked, for the message.
        headers: of the answer, lower-case names; read for rate limits.
        hidden: secrets that the host was given, and must not be repeated if it repeats them.
    """
    name, lowered = _text(body.get("error")), _text(body.get("message")).lower()
    said = ": ".join(filter(None, (_clean(body.get(key), hidden) for key in ("error", "message"))))
    what = f"{host} answered {status} to {nsid} ({said or 'no reason given'})"

    if 300 <= status < 400:
        target = _clean((headers or {}).get("location"), hidden)
        return RequestRefused(
            f"{host} redirects {nsid} to {target or 'elsewhere'}; redirects are not followed",
            code="redirected",
            hint="give the host that really holds the account",
        )
    if status == 429:
        return RateLimited(what, retry_after_s=retry_after_s(headers or {}), hint="wait, then run it again")
    if name in _REPO_HINTS or (nsid.startswith("com.atproto.sync.") and "could not find repo" in lowered):
        code, hint = _REPO_HINTS.get(name, _REPO_HINTS["RepoNotFound"])
        return RepoUnavailable(what, code=code, hint=hint)
    if name in _AUTH_HINTS:
        code, hint = _AUTH_HINTS[name]
        return AuthError(what, code=code, hint=hint)
    if status == 413 or name in {"PayloadTooLarge", "BlobTooLarge"}:
        return BlobTooLarge(what, hint="the destination's operator can raise its upload limit")
    if nsid.endswith("Blob") and ("takendown" in lowered or "taken down" in lowered):
        return BlobTakenDown(what, hint="the host's moderators have to lift this first")
    if name == "BlobNotFound" or (nsid.endswith(".getBlob") and (status == 404 or "blob not found" in lowered)):
        return BlobNotFound(what, hint="the host has lost this blob; nobody can fetch it from there")
    if nsid.endswith(".getBlob") and status in (401, 403):
        return RequestRefused(what, code="blob_refused", hint="the host keeps this one blob back; ask its operator")
    if status == 401:
        return _unauthorized(what, nsid)
    if status == 403:
        return AuthError(what, code="forbidden", hint="use the account's main password, not an app password")
    if status == 501 or (status == 404 and not name):
        return RequestRefused(
            what, code="not_a_pds", hint=f"is {host} really a Personal Data Server? It does not know {nsid}"
        )
    if status >= 500:
        return ServerFault(what, hint="the host failed; try again later, or ask its operator")
    return RequestRefused(what, hint="")


def error_for_transport(error: httpx.HTTPError, *, host: str, nsid: str) -> HostUnreachable:
    """The typed error for a connection that failed before a whole answer came."""
    reasons: list[tuple[type[httpx.HTTPError], str]] = [
        (httpx.ConnectTimeout, "could not be reached in time"),
        (httpx.ConnectError, "could not be connected to"),
        (httpx.TimeoutException, "stopped answering"),
        (httpx.RemoteProtocolError, "broke off its answer"),
    ]
    reason = next((text for kind, text in reasons if isinstance(error, kind)), "broke the connection")
    # a ProtocolError quotes: the header that could not be sent, which may be the one with the token, or what the host
    # said in place of HTTP, which may be what it was given
    is_quoting = isinstance(error, httpx.ProtocolError) and not str(error).startswith("peer closed connection")
    detail = "" if is_quoting else _clean(str(error))
    hint = "check the host's name and that it is up, then run it again"
    if "WRONG_VERSION_NUMBER" in detail:
        hint = f"{host} does not speak https there; check the scheme and the port"
    return HostUnreachable(f"{host} {reason} when asked for {nsid}{f' ({detail})' if detail else ''}", hint=hint)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by `Retry-After` or `RateLimit-Reset`; None if neither is usable.

    The first is in seconds. The second is in Unix seconds on the reference PDS, and in seconds from now in the IETF's
    draft; no limit lasts for decades, so the number itself tells which.
    """
    for name in ("retry-after", "ratelimit-reset"):
        try:
            number = float(headers[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(number):
            return max(0.0, number - time.time() if number >= _LEAST_UNIX_S else number)
    return None


def _unauthorized(what: str, nsid: str) -> AuthError:
    if nsid == "com.atproto.server.createSession":
        return AuthError(
            what,
            code="wrong_password",
            hint="check the password, and that the account exists on this host (create it there, deactivated, first); "
            "then add the migration again",
        )
    return AuthError(what, hint="the session or the password has been revoked; add the migration again with a new one")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _clean(value: object, hidden: Iterable[str] = ()) -> str:
    """A server's text as one short, printable line without secrets: it is going to stand in logs and terminals."""
    text = _text(value)
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "…")  # before the text is cut: the cut might go through the secret
    return "".join(character if character.isprintable() else " " for character in text[:_MAX_SERVER_TEXT]).strip()
