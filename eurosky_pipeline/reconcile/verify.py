"""An independent look at both servers, after the fact: it knows nothing of the registry, the ledger or the run.

Each side's own `getRepo` is read and hashed, each side's own `getBlob` is read and hashed, and the two are compared:
every record's CID, every blob's SHA-256. A record whose CID differs must be the source's, converted, to the letter.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.repo import RepoFile, open_repo
from eurosky_pipeline.errors import EuroskyError, FatalError
from eurosky_pipeline.reconcile.converted import BothRepos, ClaimedSize
from eurosky_pipeline.transfer.export_repo import download_repo
from eurosky_pipeline.transfer.progress import ProgressSink, SilentProgress
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_blob, list_blobs
from eurosky_pipeline.xrpc.workers import run_workers

UNKNOWN_SIZE = -1
"""What a converted reference says under the policy `sentinel`, where nobody told the blob's size."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and every difference, named. `records_converted` differ as a conversion has to make them."""

    records: int
    records_converted: int
    blobs: int
    blob_bytes: int
    differences: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return not self.differences


def verify_accounts(
    source: XrpcClient,
    destination: XrpcClient,
    did: str,
    *,
    workers: int = 5,
    max_repo_bytes: int = 8 * 1024**3,
    is_sentinel_allowed: bool = False,
    progress: ProgressSink | None = None,
) -> Verification:
    """Compare an account on two servers, record by record and blob by blob.

    Args:
        destination: with a session, where the account is still deactivated.
        is_sentinel_allowed: a converted reference may say -1 where nobody told the size.
        progress: told of the stage "verified", in blobs.

    Raises: EuroskyError if a side does not give out its repository or its list of blobs.
    """
    with tempfile.TemporaryDirectory(prefix="eurosky-verify-") as folder:
        paths = [Path(folder) / f"{side}.car" for side in ("source", "destination")]
        for client, path in zip((source, destination), paths, strict=True):
            download_repo(client, did, path, max_bytes=max_repo_bytes, stop=threading.Event())
        with open_repo(paths[0]) as original, open_repo(paths[1]) as copy:
            found = _compare_repos(did, original, copy)
    differences = found.differences
    cids = sorted(found.blobs | set(list_blobs(source, did)))
    total_bytes = 0
    progress = progress or SilentProgress()
    progress.begin("verified", len(cids), "blobs")
    stop = threading.Event()
    compare = partial(_compare_blob, source, destination, did)
    for cid, size_bytes, problem in run_workers(cids, compare, workers=workers, stop=stop):
        total_bytes += size_bytes
        if problem:
            differences.append(f"blob {cid}: {problem}")
        differences += _wrong_sizes(found.claims.get(cid, []), None if problem else size_bytes, is_sentinel_allowed)
        progress.advance("verified", 1)
    progress.end("verified", f"{found.records:,} records, {len(cids):,} blobs")
    return Verification(found.records, found.records_converted, len(cids), total_bytes, tuple(differences))


@dataclass(slots=True)
class _ComparedRepos:
    """`blobs`: named by a record of either side. `claims`: the sizes that converted references tell, by blob."""

    records: int = 0
    records_converted: int = 0
    differences: list[str] = field(default_factory=list)
    blobs: set[Cid] = field(default_factory=set)
    claims: dict[Cid, list[ClaimedSize]] = field(default_factory=dict)


def _compare_repos(did: str, original: RepoFile, copy: RepoFile) -> _ComparedRepos:
    repos = BothRepos(did, dict(original.keys()), dict(copy.keys()))
    found = _ComparedRepos(records=len(repos.source))
    unequal = set(repos.destination.keys() - repos.source.keys())
    for record in copy.records():
        found.blobs.update(ref.blob_cid for ref in find_blob_refs(record.value))
    for record in original.records():
        found.blobs.update(ref.blob_cid for ref in find_blob_refs(record.value))
        arrived = repos.destination.get(record.key)
        if arrived == record.cid:
            continue
        value = None if arrived is None else copy.value(record.key, arrived)
        claims = repos.claims(record.key, record.value, value)
        if claims is None:
            unequal.add(record.key)
            continue
        found.records_converted += 1
        for claim in claims:
            found.claims.setdefault(claim.blob_cid, []).append(claim)
    found.differences = [f"record {key} is missing or differs" for key in sorted(unequal)]
    return found


def _wrong_sizes(claims: Iterable[ClaimedSize], size_bytes: int | None, is_sentinel_allowed: bool) -> list[str]:
    """What is wrong with what converted references say of a blob of `size_bytes`; None: nobody could be asked."""
    return [
        f"record {claim.key} says that blob {claim.blob_cid} has {claim.size_bytes} bytes"
        for claim in claims
        if not (is_sentinel_allowed and claim.size_bytes == UNKNOWN_SIZE)
        and (claim.size_bytes <= 0 or size_bytes not in (None, claim.size_bytes))
    ]


def _compare_blob(source: XrpcClient, destination: XrpcClient, did: str, cid: Cid) -> tuple[Cid, int, str]:
    """(CID, bytes at the destination, what is wrong or "")."""
    try:
        original, _ = _digest(source, did, cid)
        copy, size_bytes = _digest(destination, did, cid)
    except FatalError:
        raise
    except EuroskyError as error:
        return cid, 0, error.message
    if copy != original:
        return cid, size_bytes, "the two servers give different bytes"
    return cid, size_bytes, "" if copy == cid.digest else "both servers give bytes that do not hash to the CID"


def _digest(client: XrpcClient, did: str, cid: Cid) -> tuple[bytes, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with get_blob(client, did, cid) as download:
        for chunk in download.chunks:
            digest.update(chunk)
            size_bytes += len(chunk)
    return digest.digest(), size_bytes
