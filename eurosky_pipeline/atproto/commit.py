"""The commit: the signed block at the root of a repository.

Structure and signature are separate questions: `parse_commit` answers the first, `verify_signature` the second.

What is signed is the DAG-CBOR of the commit's map without `sig`, and to the byte: whether `prev` was null or was not
there at all makes two signatures. So a field that no version knows is refused. Some implementations drop such a field
before they verify and others do not, so that one block would be signed to the ones and forged to the others.
Spec: https://atproto.com/specs/repository#commit-objects
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, Cid
from eurosky_pipeline.atproto.syntax import is_account_did, is_tid
from eurosky_pipeline.errors import IntegrityError

if TYPE_CHECKING:
    from eurosky_pipeline.atproto.keys import PublicKey, SigningKey

VOID_SIGNATURE = bytes(64)
"""What stands in a commit that nobody has signed: as long as a signature, and plainly none."""

_FIELDS: Final = frozenset({"did", "version", "data", "rev", "prev", "sig"})


class CommitError(IntegrityError):
    """A commit that lacks a field, or has one of the wrong kind."""

    default_code = "commit"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of version 2 or 3.

    Attributes:
        rev: "" if version 2 has none.
        sig: bytes of any length; whether they are a signature is not known yet.
        has_prev: whether the block has a `prev`, if only null; version 2 may leave it out.
    """

    did: str
    version: int
    data: Cid
    rev: str
    prev: Cid | None
    sig: bytes
    has_prev: bool = True

    @property
    def is_signature_void(self) -> bool:
        return self.sig == VOID_SIGNATURE


def parse_commit(data: bytes) -> Commit:
    """A commit from its block. Raises CommitError or CborError."""
    value = dag_cbor.decode(data)
    if not isinstance(value, dict):
        raise CommitError("the commit is not a map")
    did, version, tree = value.get("did"), value.get("version"), value.get("data")
    rev, prev, sig = value.get("rev"), value.get("prev"), value.get("sig")
    if not isinstance(did, str) or not is_account_did(did):
        raise CommitError("the commit has no valid did")
    if type(version) is not int or version not in (2, 3):
        shown = version if type(version) is int else type(version).__name__
        raise CommitError(f"the commit's version is {shown}, and not 2 or 3")
    if not _FIELDS.issuperset(value):
        raise CommitError(f"the commit has a field that no version knows: {min(value.keys() - _FIELDS)[:80]!r}")
    if not isinstance(tree, Cid) or tree.codec != CODEC_DAG_CBOR:
        raise CommitError("the commit points at no tree")
    if version == 3 and "prev" not in value:
        raise CommitError("the commit has no prev, not even null, which version 3 demands")
    if prev is not None and (not isinstance(prev, Cid) or prev.codec != CODEC_DAG_CBOR):
        raise CommitError("the commit's prev is no link to a commit")
    if type(sig) is not bytes:
        raise CommitError("the commit has no signature")
    if "rev" not in value and version == 2:
        rev = ""
    elif not isinstance(rev, str) or not is_tid(rev):
        raise CommitError("the commit's rev is not a TID")
    return Commit(did, version, tree, rev, prev, sig, has_prev="prev" in value)


def encode_commit(commit: Commit) -> bytes:
    """The block of a version 3 commit, `sig` as it stands. Raises ValueError for version 2."""
    if commit.version != 3:
        raise ValueError("only commits of version 3 are written")
    return dag_cbor.encode(_unsigned(commit) | {"sig": commit.sig})


def unsigned_bytes(commit: Commit) -> bytes:
    """What is signed: the block of the commit, of either version, as it was or would be without `sig`."""
    return dag_cbor.encode(_unsigned(commit))


def sign(commit: Commit, key: SigningKey) -> Commit:
    """The commit with the key's signature in place of the one it has."""
    return replace(commit, sig=key.sign(unsigned_bytes(commit)))


def verify_signature(commit: Commit, key: PublicKey) -> None:
    """Do nothing if the commit is signed by this key. Raises SignatureError, saying what is wrong with its `sig`."""
    from eurosky_pipeline.atproto.keys import SignatureError

    if commit.is_signature_void:
        raise SignatureError(
            f"the commit of {commit.did} is signed by nobody: its signature is {len(VOID_SIGNATURE)} zero bytes",
            hint="a converted repository is void until the account's next write, unless it was given a signing key",
        )
    try:
        key.verify(unsigned_bytes(commit), commit.sig)
    except SignatureError as error:
        raise SignatureError(
            f"the commit of {commit.did} is not signed by {key.did_key}: {error.message}",
            hint=error.hint
            or "compare the key with #atproto in the account's DID document; it may have been another at that time",
        ) from None


def _unsigned(commit: Commit) -> dict[str, Any]:
    fields: dict[str, Any] = {"did": commit.did, "version": commit.version, "data": commit.data}
    if commit.rev or commit.version == 3:
        fields["rev"] = commit.rev
    if commit.has_prev or commit.version == 3:
        fields["prev"] = commit.prev
    return fields
