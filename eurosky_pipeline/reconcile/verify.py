"""An independent look at both servers, after the fact: it knows nothing of the registry, the ledger or the run.

Each side's own `getRepo` is read and hashed, each side's own `getBlob` is read and hashed, and the two are compared:
every record's CID, every blob's SHA-256. A record whose CID differs must be the source's, converted, to the letter.
Who has damaged blobs on purpose can say which: those must be the ones that cannot be had, and no others.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
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
from eurosky_pipeline.xrpc.errors import BlobNotFound, BlobTakenDown
from eurosky_pipeline.xrpc.workers import run_workers

UNKNOWN_SIZE = -1
"""What a converted reference says under the policy `sentinel`, where nobody told the blob's size."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and every difference, named. `records_converted` differ as a conversion has to make them.

    Attributes:
        blobs: all that were looked for; `blob_bytes` are of those that the destination has.
        blobs_lost: those of `damaged` that the source does not give whole, and that the destination has not got.
    """

    records: int
    records_converted: int
    blobs: int
    blob_bytes: int
    differences: tuple[str, ...]
    blobs_lost: int = 0

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
    damaged: Collection[Cid] = (),
    progress: ProgressSink | None = None,
) -> Verification:
    """Compare an account on two servers, record by record and blob by blob.

    Args:
        destination: with a session, where the account is still deactivated.
        is_sentinel_allowed: a converted reference may say -1 where nobody told the size.
        damaged: blobs that the source is known not to have any more as their CID says. One of them that it gives whole
            after all, or of which the destination has anything, is a difference; so is one that nothing names.
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
    expected_lost = frozenset(damaged)
    differences += [f"blob {cid}: damaged, and neither server knows of it" for cid in expected_lost.difference(cids)]
    total_bytes = lost = 0
    progress = progress or SilentProgress()
    progress.begin("verified", len(cids), "blobs")
    stop = threading.Event()
    compare = partial(_compare_blob, source, destination, did, expected_lost)
    for cid, size_bytes, problem in run_workers(cids, compare, workers=workers, stop=stop):
        is_lost = cid in expected_lost and not problem
        lost += is_lost
        total_bytes += size_bytes
        if problem:
            differences.append(f"blob {cid}: {problem}")
        known_bytes = None if problem or is_lost else size_bytes
        differences += _wrong_sizes(found.claims.get(cid, []), known_bytes, is_sentinel_allowed)
        progress.advance("verified", 1)
    progress.end("verified", f"{found.records:,} records, {len(cids) - lost:,} blobs{_beside(lost)}")
    return Verification(found.records, found.records_converted, len(cids), total_bytes, tuple(differences), lost)


def _beside(lost: int) -> str:
    return f", beside {lost:,} that cannot be had" if lost else ""


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


def _compare_blob(
    source: XrpcClient, destination: XrpcClient, did: str, damaged: Collection[Cid], cid: Cid
) -> tuple[Cid, int, str]:
    """(CID, bytes at the destination, what is wrong or "")."""
    try:
        if cid in damaged:
            return cid, 0, _why_not_lost(source, destination, did, cid)
        original, _ = _digest(source, did, cid)
        copy, size_bytes = _digest(destination, did, cid)
    except FatalError:
        raise
    except EuroskyError as error:
        return cid, 0, error.message
    if copy != original:
        return cid, size_bytes, "the two servers give different bytes"
    return cid, size_bytes, "" if copy == cid.digest else "both servers give bytes that do not hash to the CID"


def _why_not_lost(source: XrpcClient, destination: XrpcClient, did: str, cid: Cid) -> str:
    """What is wrong with a blob that should be lost; "" if it is: the source has it no more, the destination never had.

    Raises: EuroskyError: a server answers neither with the blob nor that it has none, which proves nothing.
    """
    with suppress(BlobNotFound, BlobTakenDown):
        digest, _ = _digest(source, did, cid)
        if digest == cid.digest:
            return "damaged, and the source gives it whole"
    with suppress(BlobNotFound):
        _digest(destination, did, cid)
        return "damaged, and the destination has it"
    return ""


def _digest(client: XrpcClient, did: str, cid: Cid) -> tuple[bytes, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with get_blob(client, did, cid) as download:
        for chunk in download.chunks:
            digest.update(chunk)
            size_bytes += len(chunk)
    return digest.digest(), size_bytes
