"""Handle and DID held against each other, and against what a migration was told of the account.

Either of them alone is a claim: anybody can point a domain at a DID, and any DID can name a domain. Only both together
are an identity. Spec: https://atproto.com/specs/handle#handle-resolution
"""

from __future__ import annotations

from dataclasses import dataclass

from eurosky_pipeline.atproto.commit import Commit, verify_signature
from eurosky_pipeline.atproto.keys import parse_document_key
from eurosky_pipeline.atproto.syntax import normalize_handle
from eurosky_pipeline.errors import FatalError, IntegrityError, PermanentError, TransientError
from eurosky_pipeline.identity.did import resolve_did
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.identity.document import DidDocument, DocumentKey
from eurosky_pipeline.identity.handle import HandleAmbiguousError, resolve_handle


class HandleMismatchError(FatalError):
    """Handle and DID are not of the same account."""

    default_code = "handle_mismatch"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an account is, by its DID's document.

    Attributes:
        handle: what the document claims; None if it claims none.
        is_handle_verified: whether the handle names this DID in turn.
        doubt: why it is not verified; empty if it is.
    """

    did: str
    handle: str | None
    is_handle_verified: bool
    pds_url: str | None
    signing_key: DocumentKey | None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """What the world says of an account that is going to be moved.

    Attributes:
        document: None if it could not be read just now.
        is_handle_verified: whether handle and DID name each other; False also if no handle was given.
        warnings: where the world and what was given differ, a sentence each, for people.
    """

    document: DidDocument | None
    is_handle_verified: bool
    warnings: tuple[str, ...]


def identify(directory: Directory, name: str) -> Identity:
    """The identity behind a handle or a DID, checked both ways.

    A DID is an account whatever its handle is worth; a handle is worth nothing unless the DID claims it.

    Raises: as `resolve_did`; for a handle also as `resolve_handle`, and HandleMismatchError if it is not the one that
        its DID claims.
    """
    if not name.startswith("did:"):
        document = resolve_did(directory, resolve_handle(directory, name))
        if document.handle != normalize_handle(name):
            raise HandleMismatchError(
                f"{name} names {document.did}, and that claims {_claimed(document)}",
                hint="the handle is another account's, or has been changed; go by the DID",
            )
        return _identity(document, "")
    document = resolve_did(directory, name)
    if document.handle is None:
        return _identity(document, "the DID document claims no handle")
    try:
        named = resolve_handle(directory, document.handle)
    except (PermanentError, TransientError) as error:
        return _identity(document, error.message)
    return _identity(document, "" if named == document.did else f"{document.handle} names another DID, {named[:300]}")


def check_account(directory: Directory, *, did: str, handle: str | None, source_pds: str) -> AccountCheck:
    """Hold what a migration was told against what the world says, before anything moves.

    A handle that names another DID is proof that handle or DID is a mistake, and to go on might move, or overwrite, a
    stranger's account. A handle that names nobody proves nothing: handles break, the more so in the middle of a
    migration, and the DID is what counts. The hosts given are the ones used, whatever the document says.

    Args:
        source_pds: as the host policy spells it.

    Raises:
        HandleMismatchError: the handle names another DID.
        FatalError, AnswerInvalid: the DID has no document that can be used; see `resolve_did`.
    """
    warnings: list[str] = []
    named = _named_did(directory, did, handle, warnings) if handle else None
    try:
        document = resolve_did(directory, did)
    except TransientError as error:
        warnings.append(f"the DID document could not be read, and was compared with nothing: {error.message}")
        return AccountCheck(None, is_handle_verified=False, warnings=tuple(warnings))
    is_claimed = handle is not None and document.handle == normalize_handle(handle)
    if handle and not is_claimed:
        warnings.append(f"the DID document claims {_claimed(document)}, and not the handle given, {handle}")
    if document.pds_url is None:
        warnings.append("the DID document names no server that could be asked")
    elif document.pds_url != source_pds:
        warnings.append(f"the DID document names {document.pds_url}, and not the source given, {source_pds}")
    return AccountCheck(document, is_handle_verified=is_claimed and named == did, warnings=tuple(warnings))


def signature_doubt(document: DidDocument | None, commit: Commit) -> str:
    """Why a commit cannot be said to be signed by the key of the DID document; "" if it is signed by it.

    A doubt is no proof of a forgery: after an account has moved, the new host serves the commit that the old one has
    signed until the account writes again.
    """
    if document is None or document.signing_key is None:
        return "the commit's signature was not checked: the account's key is not known"
    try:
        key = parse_document_key(document.signing_key.type, document.signing_key.public_key_multibase)
        verify_signature(commit, key)
    except IntegrityError as error:
        return error.message
    return ""


def _named_did(directory: Directory, did: str, handle: str, warnings: list[str]) -> str | None:
    """The DID that the handle names, which is `did`, or None with a warning."""
    try:
        named = frozenset({resolve_handle(directory, handle)})
    except HandleAmbiguousError as error:
        if did in error.dids:
            warnings.append(f"the handle is in doubt: {error.message}")
            return None
        named = error.dids
    except (PermanentError, TransientError) as error:
        warnings.append(f"the handle could not be confirmed: {error.message}")
        return None
    if did not in named:
        raise HandleMismatchError(
            f"the handle {handle} names {', '.join(sorted(named))[:300]}, and not the DID given, {did}",
            hint="one of the two is a mistake; cancel this migration, and add it again with the right one, or without "
            "the handle",
        )
    return did


def _identity(document: DidDocument, doubt: str) -> Identity:
    return Identity(document.did, document.handle, not doubt, document.pds_url, document.signing_key, doubt)


def _claimed(document: DidDocument) -> str:
    return f"the handle {document.handle}" if document.handle else "no handle"
