"""DID resolution for the two methods that the AT Protocol blesses: `did:plc` by a directory, `did:web` by the domain.

Specs: https://web.plc.directory/spec/v0.1/did-plc, https://atproto.com/specs/did and
https://w3c-ccg.github.io/did-method-web/
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from eurosky_pipeline.atproto.syntax import is_account_did, is_handle
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.document import DidDocument, read_document
from eurosky_pipeline.identity.fetch import fetch, is_passing
from eurosky_pipeline.identity.reserved import reserved_domain
from eurosky_pipeline.xrpc.answers import error_for_answer
from eurosky_pipeline.xrpc.errors import AnswerInvalid

MAX_DOCUMENT_BYTES = 256 * 1024
"""The directory accepts operations of a few kilobytes; a document that a person wrote may be chattier."""

_LOCALHOST = re.compile(r"localhost(?:%3[Aa]([0-9]{1,5}))?", re.ASCII)


class DidNotFoundError(FatalError):
    """Nobody knows this DID, or its owner has given it up."""

    default_code = "did_not_found"


class DidInvalidError(FatalError):
    """No DID that the AT Protocol can resolve, whoever is asked."""

    default_code = "did_invalid"


def resolve_did(directory: Directory, did: str) -> DidDocument:
    """Fetch and read a DID's document. Redirects are not followed.

    Raises:
        DidInvalidError: not a DID, of a method that is not supported, or a `did:web` that can have no document.
        DidNotFoundError: unknown, or given up by its owner (a tombstone).
        SettingsError: it is at a host that may not be asked.
        TransientError: the PLC directory, or the domain, cannot be asked just now.
        AnswerInvalid: the answer is no document of this DID.
    """
    base_url, path = _place(directory, did)
    base_url = directory.policy.check_reachable(base_url)
    host = urlsplit(base_url).netloc
    answer = fetch(directory.http, f"{base_url}/{path}", what=did, max_bytes=MAX_DOCUMENT_BYTES)
    body = _json_object(answer.body) or {}
    # a tombstone is 410, and 404 like an unknown DID at older directories
    if answer.status == 410 or (answer.status == 404 and str(body.get("message", "")).startswith("DID not available")):
        raise DidNotFoundError(
            f"{host} says that the DID has been given up: {did}",
            code="did_tombstoned",
            hint="an account whose DID is given up cannot be moved any more",
        )
    if answer.status == 404:
        raise DidNotFoundError(f"{host} knows no such DID: {did}", hint="check the DID")
    if is_passing(answer.status):
        raise error_for_answer(answer.status, body, host=host, nsid=did)
    if answer.status != 200 or body.get("id") != did:
        raise AnswerInvalid(f"{host} answered {answer.status} without a document of {did}")
    return read_document(did, body)


def document_url(directory: Directory, did: str) -> str:
    """Where a DID's document is. Raises DidInvalidError."""
    return "/".join(_place(directory, did))


def _place(directory: Directory, did: str) -> tuple[str, str]:
    """The base URL and the path of a DID's document."""
    if not is_account_did(did):
        raise DidInvalidError(f"{did[:100]!r} is not a DID", hint="it looks like did:plc:… or did:web:…")
    _, method, rest = did.split(":", 2)
    if method == "plc":
        return directory.plc_url, did
    if method != "web":
        raise DidInvalidError(
            f"{did} is of a method that is not supported", code="did_unsupported", hint="did:plc and did:web are"
        )
    return _web_base_url(did, rest), ".well-known/did.json"


def _web_base_url(did: str, name: str) -> str:
    """A whole domain in lower case, and nothing else; `localhost` may have a port, and speaks http, as it does to the
    reference implementation: the host policy knows whether this is a test."""
    if ":" in name:
        raise DidInvalidError(
            f"{did} names a path, and the AT Protocol knows no such accounts",
            code="did_unsupported",
            hint="only a whole domain can be an account's did:web",
        )
    local = _LOCALHOST.fullmatch(name)
    if local:
        return f"http://localhost:{local[1]}" if local[1] else "http://localhost"
    reserved = reserved_domain(name) if is_handle(name) else None
    if not is_handle(name) or name != name.lower() or reserved:
        why = f"is below the reserved domain .{reserved}" if reserved else "names no domain in lower case"
        raise DidInvalidError(f"{did} {why}", hint="a port, too, is for localhost only")
    return f"https://{name}"


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
