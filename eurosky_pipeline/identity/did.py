"""DID resolution for the two methods that the AT Protocol blesses: `did:plc` by a directory, `did:web` by the domain.

Specs: https://web.plc.directory/spec/v0.1/did-plc and https://atproto.com/specs/did
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import urlsplit

import httpx

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.xrpc.client import Json, fetch_json
from eurosky_pipeline.xrpc.errors import AnswerInvalid, error_for_answer
from eurosky_pipeline.xrpc.host_policy import HostPolicy

_MAX_TEXT = 300


class DidNotFoundError(FatalError):
    """Nobody knows this DID, or its owner has given it up."""

    default_code = "did_not_found"


@dataclass(frozen=True, slots=True)
class DidDocument:
    """What a migration reads in a DID document: the account's server and handle, where it names them."""

    did: str
    pds_url: str | None
    handle: str | None


def resolve_did(http: httpx.Client, did: str, *, plc_url: str, policy: HostPolicy) -> DidDocument:
    """Fetch and read the document of a checked DID.

    Args:
        plc_url: base URL of the PLC directory, asked for `did:plc`.

    Raises:
        DidNotFoundError: unknown, tombstoned, or of a method that is not supported.
        TransientError: the directory, or the domain, cannot be asked just now.
        AnswerInvalid: the answer is no document of this DID.
    """
    method, _, rest = did.removeprefix("did:").partition(":")
    if method == "plc":
        base_url = policy.check_reachable(plc_url)
        url = f"{base_url}/{did}"
    elif method == "web" and ":" not in rest:
        base_url = policy.check_reachable(f"https://{rest.replace('%3A', ':').replace('%3a', ':')}")
        url = f"{base_url}/.well-known/did.json"
    else:
        raise DidNotFoundError(
            f"{did} is of a method that is not supported", code="did_unsupported", hint="did:plc and did:web are"
        )
    host = urlsplit(base_url).netloc
    status, document = fetch_json(http, url, host=host, what=did)
    if status in (404, 410):
        known = "knows no such DID" if status == 404 else "says that the DID has been given up"
        raise DidNotFoundError(f"{host} {known}: {did}", hint="check the DID; `goat resolve HANDLE` shows an account's")
    if status == 429 or status >= 500:
        raise error_for_answer(status, document or {}, host=host, nsid=did)
    if document is None or document.get("id") != did:
        raise AnswerInvalid(f"{host} answered {status} without a document of {did}")
    return DidDocument(did, _pds_url(document), _handle(document))


def _pds_url(document: Json) -> str | None:
    services = document.get("service")
    for service in services if isinstance(services, list) else []:
        if isinstance(service, dict) and str(service.get("id", "")).endswith("#atproto_pds"):
            endpoint = service.get("serviceEndpoint")
            return endpoint.rstrip("/") if _is_short_text(endpoint) else None
    return None


def _handle(document: Json) -> str | None:
    names = document.get("alsoKnownAs")
    for name in names if isinstance(names, list) else []:
        if _is_short_text(name) and name.startswith("at://"):
            return name.removeprefix("at://")
    return None


def _is_short_text(value: object) -> TypeGuard[str]:
    """A document is a stranger's text, and these pieces of it are going to stand in logs."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()
