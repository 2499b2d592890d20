"""The commit: the signed block at the root of a repository.

Structure only; whether the signature is the account's is a separate question.
Spec: https://atproto.com/specs/repository#commit-objects
"""

from __future__ import annotations

from dataclasses import dataclass

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, Cid
from eurosky_pipeline.atproto.syntax import is_did, is_tid
from eurosky_pipeline.errors import IntegrityError

VOID_SIGNATURE = bytes(64)
"""What stands in a commit that nobody has signed: as long as a signature, and plainly none."""


class CommitError(IntegrityError):
    """A commit that lacks a field, or has one of the wrong kind."""

    default_code = "commit"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of version 2 (which has no `rev` of its own, then "") or 3."""

    did: str
    version: int
    data: Cid
    rev: str
    prev: Cid | None
    sig: bytes

    @property
    def is_signature_void(self) -> bool:
        return self.sig == VOID_SIGNATURE


def parse_commit(data: bytes) -> Commit:
    """Raises CommitError or CborError."""
    value = dag_cbor.decode(data)
    if not isinstance(value, dict):
        raise CommitError("the commit is not a map")
    did, version, tree = value.get("did"), value.get("version"), value.get("data")
    rev, prev, sig = value.get("rev"), value.get("prev"), value.get("sig")
    if not isinstance(did, str) or not is_did(did):
        raise CommitError("the commit has no valid did")
    if type(version) is not int or version not in (2, 3):
        raise CommitError(f"the commit's version is {version!r}, and not 2 or 3")
    if not isinstance(tree, Cid) or tree.codec != CODEC_DAG_CBOR:
        raise CommitError("the commit points at no tree")
    if version == 3 and "prev" not in value:
        raise CommitError("the commit has no prev, not even null, which version 3 demands")
    if prev is not None and not isinstance(prev, Cid):
        raise CommitError("the commit's prev is no link")
    if type(sig) is not bytes:
        raise CommitError("the commit has no signature")
    if rev is None and version == 2:
        rev = ""
    elif not isinstance(rev, str) or not is_tid(rev):
        raise CommitError("the commit's rev is not a TID")
    return Commit(did, version, tree, rev, prev, sig)


def encode_commit(commit: Commit) -> bytes:
    """The block of a version 3 commit, `sig` as it stands. Raises ValueError for version 2."""
    if commit.version != 3:
        raise ValueError("only commits of version 3 are written")
    return dag_cbor.encode(
        {
            "did": commit.did,
            "version": 3,
            "data": commit.data,
            "rev": commit.rev,
            "prev": commit.prev,
            "sig": commit.sig,
        }
    )
