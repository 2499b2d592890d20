"""The `com.atproto.*` endpoints that a migration uses, as functions from a client to checked values.

Each validates what the host said and raises `AnswerInvalid` where it breaks the endpoint's lexicon; all raise the
errors of `xrpc.errors`. Lexicons: https://github.com/bluesky-social/atproto/tree/main/lexicons/com/atproto
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import Cid, CidError, parse_cid
from eurosky_pipeline.atproto.syntax import is_account_did, is_did, is_tid
from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.xrpc.client import Announced, Download, Json, UploadBody, XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, BlobNotFound, ServerFault, told_by_host
from eurosky_pipeline.xrpc.paging import rows_of

CAR_MIME_TYPE = "application/vnd.ipld.car"
CREATE_ACCOUNT = "com.atproto.server.createAccount"
GET_BLOB = "com.atproto.sync.getBlob"
HEAD_TIMEOUT_S = 30.0
"""How long a host may think about a question that it need not send a blob for."""
IMPORT_TIMEOUT_S = 1800.0
"""How long a host may take to digest a repository: the reference PDS needs about a minute per 100,000 records."""
_MAX_WORD_CHARS = 40


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """`describeServer`: the host's DID, and its upload limit in bytes where it tells."""

    did: str
    blob_upload_limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """`checkAccountStatus`, as far as it can be trusted: its blob counts are shown to people and prove nothing."""

    is_activated: bool
    repo_commit: Cid | None
    indexed_records: int
    expected_blobs: int
    imported_blobs: int


@dataclass(frozen=True, slots=True)
class MissingBlob:
    """One row of `listMissingBlobs`: a blob that a record of the account references and the host does not have."""

    blob_cid: Cid
    record_uri: str


@dataclass(frozen=True, slots=True)
class UploadedBlob:
    """What the host says it has stored after `uploadBlob`."""

    blob_cid: Cid
    mime_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RepoStatus:
    """`getRepoStatus`: whether the host gives the repo out to the public, and if not its word for why, where it has
    one (`deactivated`, `suspended`, `takendown` …)."""

    is_active: bool
    status: str | None


@dataclass(frozen=True, slots=True)
class LatestCommit:
    """`getLatestCommit`: the repo's head at the host."""

    commit_cid: Cid
    rev: str


def describe_server(client: XrpcClient) -> ServerDescription:
    """Public. Tells a Personal Data Server from any other web server."""
    answer = client.query("com.atproto.server.describeServer")
    limit = answer.get("blobUploadLimit")
    return ServerDescription(
        did=_did(client, _text(client, answer, "did")),
        blob_upload_limit_bytes=limit if type(limit) is int and limit > 0 else None,  # true is no size
    )


def server_version(client: XrpcClient) -> str | None:
    """Public. What the host calls its version at `_health`, which is no part of the protocol; None if it tells none."""
    version = told_by_host(client.query("_health").get("version"))
    return version[:_MAX_WORD_CHARS] or None


def resolve_handle(client: XrpcClient, handle: str) -> str:
    """Public. The DID of the account that has this handle, as the host knows it; RequestRefused if it knows none."""
    did = _text(client, client.query("com.atproto.identity.resolveHandle", {"handle": handle}), "did")
    if not is_account_did(did):
        raise AnswerInvalid(f"{client.host} sent something else where a DID belongs")
    return did


def get_repo(client: XrpcClient, did: str) -> AbstractContextManager[Download]:
    """The whole repository as a CAR stream. Public for an active account; else only for the account itself."""
    return client.download("com.atproto.sync.getRepo", {"did": did})


def get_blob(client: XrpcClient, did: str, blob_cid: Cid) -> AbstractContextManager[Download]:
    """One blob as a stream, with the mime type that the host has stored for it."""
    return client.download(GET_BLOB, {"did": did, "cid": str(blob_cid)})


def find_blob(client: XrpcClient, did: str, blob_cid: Cid) -> Announced | None:
    """What the host says of this blob, without reading it; None if it says that it has it not.

    HEAD, and where that does not say yes GET, closed before its body: only GET says why not, and not all servers
    know HEAD. Raises what a host says that is neither yes nor no.
    """
    with suppress(PermanentError, ServerFault):
        return client.head(GET_BLOB, {"did": did, "cid": str(blob_cid)}, timeout_s=HEAD_TIMEOUT_S)
    try:
        with get_blob(client, did, blob_cid) as download:
            return Announced(download.size_bytes)
    except BlobNotFound:
        return None


def get_latest_commit(client: XrpcClient, did: str) -> LatestCommit:
    answer = client.query("com.atproto.sync.getLatestCommit", {"did": did})
    rev = _text(client, answer, "rev")
    if not is_tid(rev):
        raise AnswerInvalid(f"{client.host} sent something else where a rev belongs")
    return LatestCommit(_cid(client, answer.get("cid")), rev)


def get_repo_status(client: XrpcClient, did: str) -> RepoStatus:
    """Public, whatever the account's state."""
    answer = client.query("com.atproto.sync.getRepoStatus", {"did": did})
    return RepoStatus(answer.get("active") is True, told_by_host(answer.get("status"))[:_MAX_WORD_CHARS] or None)


def list_blobs(client: XrpcClient, did: str) -> Iterator[Cid]:
    """Every blob that the host lists for the account, page by page to the empty one. Raises as `rows_of`, too."""
    for item in rows_of(client, "com.atproto.sync.listBlobs", "cids", {"did": did}):
        yield _cid(client, item)


def list_missing_blobs(client: XrpcClient) -> Iterator[MissingBlob]:
    """Every blob that the account's records reference and the host lacks; needs a session. Raises as `list_blobs`."""
    for item in rows_of(client, "com.atproto.repo.listMissingBlobs", "blobs", {}):
        if not isinstance(item, dict):
            raise AnswerInvalid(f"{client.host} listed a missing blob that is not an object")
        yield MissingBlob(_cid(client, item.get("cid")), _text(client, item, "recordUri"))


def check_account_status(client: XrpcClient) -> AccountStatus:
    """Needs a session."""
    answer = client.query("com.atproto.server.checkAccountStatus")
    commit = answer.get("repoCommit")
    return AccountStatus(
        is_activated=answer.get("activated") is not False,
        repo_commit=_cid(client, commit) if commit else None,
        indexed_records=_count(answer, "indexedRecords"),
        expected_blobs=_count(answer, "expectedBlobs"),
        imported_blobs=_count(answer, "importedBlobs"),
    )


def import_repo(client: XrpcClient, car: UploadBody) -> None:
    """Replace the account's records by those of the CAR: what the CAR lacks is deleted. Needs a session."""
    client.upload("com.atproto.repo.importRepo", car, timeout_s=IMPORT_TIMEOUT_S)


def upload_blob(client: XrpcClient, body: UploadBody) -> UploadedBlob:
    """Store one blob; kept by the host only if a record that it already has references it. Needs a session."""
    answer = client.upload("com.atproto.repo.uploadBlob", body)
    blob = answer.get("blob")
    ref = blob.get("ref") if isinstance(blob, dict) else None
    if not isinstance(blob, dict) or not isinstance(ref, dict):
        raise AnswerInvalid(f"{client.host} accepted a blob without saying which")
    size = blob.get("size")
    return UploadedBlob(
        blob_cid=_cid(client, ref.get("$link")),
        mime_type=str(blob.get("mimeType") or ""),
        size_bytes=size if isinstance(size, int) else -1,
    )


def get_service_auth(client: XrpcClient, *, audience: str, lxm: str) -> str:
    """A short-lived token (60 s) with which the account may ask the server `audience` (a DID) for `lxm`.

    Needs a session opened with the main password.
    """
    answer = client.query("com.atproto.server.getServiceAuth", {"aud": audience, "lxm": lxm})
    return _text(client, answer, "token")


def create_account(
    client: XrpcClient,
    *,
    handle: str,
    email: str,
    password: SecretStr,
    did: str | None = None,
    service_auth: str | None = None,
) -> str:
    """Open an account; returns its DID.

    With `did` and a `service_auth` token from the host that has the account now, it is the same account, deactivated;
    else it is a new one.
    """
    fields = {"handle": handle, "email": email, "password": password}
    answer = client.procedure(CREATE_ACCOUNT, {**fields, **({"did": did} if did else {})}, bearer=service_auth)
    return _text(client, answer, "did")


def apply_writes(client: XrpcClient, did: str, writes: Sequence[Json]) -> tuple[Cid, ...]:
    """Make up to 200 changes in one commit; needs a session. No changes at all still make a new, signed commit.

    Args:
        writes: `com.atproto.repo.applyWrites#create` and its siblings, in JSON.

    Returns: the CIDs of the records that were created or updated, in the order of `writes`.
    """
    answer = client.procedure("com.atproto.repo.applyWrites", {"repo": did, "writes": list(writes)})
    results = answer.get("results")
    rows = [row for row in results if isinstance(row, dict)] if isinstance(results, list) else []
    return tuple(_cid(client, row["cid"]) for row in rows if "cid" in row)


def _cid(client: XrpcClient, value: object) -> Cid:
    try:
        return parse_cid(value if isinstance(value, str) else "")
    except CidError:  # its text quotes what the host sent, and that may be anything: a password that it was given
        raise AnswerInvalid(f"{client.host} sent something else where a CID belongs") from None


def _did(client: XrpcClient, text: str) -> str:
    if not is_did(text):
        raise AnswerInvalid(f"{client.host} sent something else where a DID belongs")
    return text


def _text(client: XrpcClient, answer: Json, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise AnswerInvalid(f"{client.host} left {key} out of its answer")
    return value


def _count(answer: Json, key: str) -> int:
    value = answer.get(key)
    return value if isinstance(value, int) and value >= 0 else 0
