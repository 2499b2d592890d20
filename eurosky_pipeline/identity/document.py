"""What a migration reads in a DID document: a stranger's text, where what is not as it must be counts as not there.

Spec: https://atproto.com/specs/did#did-documents
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from eurosky_pipeline.atproto.syntax import is_handle, normalize_handle
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.host_policy import HostPolicy

_ANY_HOST = HostPolicy(is_private_allowed=True)
_BASE58 = re.compile(r"z[1-9A-HJ-NP-Za-km-z]{32,128}", re.ASCII)

KEY_TYPES: Final = frozenset({"Multikey", "EcdsaSecp256r1VerificationKey2019", "EcdsaSecp256k1VerificationKey2019"})
"""How `public_key_multibase` is to be read: with a multicodec prefix and compressed in a `Multikey`; without, and
uncompressed, in the two older ones."""


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """The key that the account's commits are signed with, as the document spells it: base58btc, nothing decoded yet.

    Attributes:
        type: one of `KEY_TYPES`.
    """

    type: str
    public_key_multibase: str


@dataclass(frozen=True, slots=True)
class DidDocument:
    """What a DID's owner says of the account: a claim, as far as the handle goes.

    Attributes:
        pds_url: `scheme://host[:port]` of the account's server, in the host policy's spelling but not accepted by it;
            None if the document names none that is a server's address and nothing more.
        handle: the first one named, in lower case.
        signing_key: the first one of a known type.
    """

    did: str
    pds_url: str | None
    handle: str | None
    signing_key: DocumentKey | None = None


def read_document(did: str, document: dict[str, Any]) -> DidDocument:
    """Read the document of `did`, whose `id` the caller has compared."""
    return DidDocument(
        did,
        _pds_url(did, document.get("service")),
        _handle(document.get("alsoKnownAs")),
        _signing_key(did, document.get("verificationMethod")),
    )


def _pds_url(did: str, services: object) -> str | None:
    """The first server named counts: a later one does not stand in for one that is not usable."""
    for service in _entries(services, did, "atproto_pds"):
        if service.get("type") == "AtprotoPersonalDataServer":
            endpoint = service.get("serviceEndpoint")
            try:
                return _ANY_HOST.normalize(endpoint) if isinstance(endpoint, str) else None
            except SettingsError:
                return None
    return None


def _handle(names: object) -> str | None:
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str) and name.startswith("at://") and is_handle(name.removeprefix("at://")):
            return normalize_handle(name.removeprefix("at://"))
    return None


def _signing_key(did: str, methods: object) -> DocumentKey | None:
    for method in _entries(methods, did, "atproto"):
        kind, text = method.get("type"), method.get("publicKeyMultibase")
        is_known = isinstance(kind, str) and kind in KEY_TYPES and method.get("controller") == did
        if is_known and isinstance(text, str) and _BASE58.fullmatch(text):
            return DocumentKey(str(kind), text)
    return None


def _entries(entries: object, did: str, fragment: str) -> Iterator[dict[str, Any]]:
    """The entries with this id, relative or absolute; one below another DID is not this account's."""
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("id") in (f"#{fragment}", f"{did}#{fragment}"):
            yield entry
