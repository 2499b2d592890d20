"""What can go wrong with a host, as types in the error tree; and a connection that failed, as one of them.

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
 +-- AccountRefused       the host does not open, or activate, the account
 +-- RepoUnavailable      the host has no such repo, or does not give it out

Which answer becomes which of them is in `xrpc.answers`, and nowhere else.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

import httpx

from eurosky_pipeline.errors import FatalError, PermanentError, TransientError

_MAX_SERVER_TEXT = 300


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


class AccountRefused(FatalError):
    """The host does not open the account, or does not activate it, as it was asked to."""

    default_code = "account_refused"


class RepoUnavailable(FatalError):
    """The host does not have the repo, or does not hand it out."""

    default_code = "repo_unavailable"


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
    detail = "" if is_quoting else told_by_host(str(error))
    hint = "check the host's name and that it is up, then run it again"
    if "WRONG_VERSION_NUMBER" in detail:
        hint = f"{host} does not speak https there; check the scheme and the port"
    return HostUnreachable(f"{host} {reason} when asked for {nsid}{f' ({detail})' if detail else ''}", hint=hint)


def told_by_host(value: object, hidden: Iterable[str] = ()) -> str:
    """A host's text as one short, printable line without secrets: it is going to stand in logs and terminals.

    Args:
        value: empty is made of what is no text.
        hidden: secrets that must not stand in it, however they are spelled.
    """
    text = value if isinstance(value, str) else ""
    spellings = {spelling for secret in hidden if secret for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "…")  # before the text is cut: the cut might go through the secret
    return "".join(character if character.isprintable() else " " for character in text[:_MAX_SERVER_TEXT]).strip()


def _spellings(secret: str) -> Iterator[str]:
    """A secret as a program might repeat it: as it is, in a URL, in JSON, HTML or source text, in base64, in hex, or
    with its letters misread."""
    data = secret.encode(errors="surrogatepass")
    yield from (secret, quote(data), quote(data, safe=""), quote_plus(data))
    for encoded in (b64encode(data), urlsafe_b64encode(data)):
        yield encoded.decode().rstrip("=")
    yield from (data.hex(), data.hex().upper())
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (html.escape(secret), html.escape(secret, quote=False), data.decode("latin-1"))
