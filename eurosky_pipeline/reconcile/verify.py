"""An independent look at both servers, after the fact: it knows nothing of the registry, the ledger or the run.

Each side's own `getRepo` is read and hashed, each side's own `getBlob` is read and hashed, and the two are compared:
every record's CID, every blob's SHA-256.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.errors import EuroskyError, FatalError
from eurosky_pipeline.transfer.engine import run_workers
from eurosky_pipeline.transfer.export_repo import download_repo
from eurosky_pipeline.transfer.progress import ProgressSink, SilentProgress
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_blob, list_blobs


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and every difference, named."""

    records: int
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
    progress: ProgressSink | None = None,
) -> Verification:
    """Compare an account on two servers, record by record and blob by blob.

    Args:
        destination: with a session, where the account is still deactivated.
        progress: told of the stage "verified", in blobs.

    Raises: EuroskyError if a side does not give out its repository or its list of blobs.
    """
    with tempfile.TemporaryDirectory(prefix="eurosky-verify-") as folder:
        records, blobs = _read_repo(source, did, Path(folder) / "source.car", max_repo_bytes)
        arrived, arrived_blobs = _read_repo(destination, did, Path(folder) / "destination.car", max_repo_bytes)
    unequal = {key for key, _ in records.items() ^ arrived.items()}
    differences = [f"record {key} is missing or differs" for key in sorted(unequal)]
    cids = sorted(blobs | arrived_blobs | set(list_blobs(source, did)))
    total_bytes = 0
    progress = progress or SilentProgress()
    progress.begin("verified", len(cids), "blobs")
    stop = threading.Event()
    compare = partial(_compare_blob, source, destination, did)
    for cid, size_bytes, problem in run_workers(cids, compare, workers=workers, stop=stop):
        total_bytes += size_bytes
        if problem:
            differences.append(f"blob {cid}: {problem}")
        progress.advance("verified", 1)
    progress.end("verified", f"{len(records):,} records, {len(cids):,} blobs")
    return Verification(len(records), len(cids), total_bytes, tuple(differences))


def _read_repo(client: XrpcClient, did: str, path: Path, max_bytes: int) -> tuple[dict[str, Cid], set[Cid]]:
    download_repo(client, did, path, max_bytes=max_bytes, stop=threading.Event())
    records: dict[str, Cid] = {}
    blobs: set[Cid] = set()
    with open_repo(path) as repo:
        for record in repo.records():
            records[record.key] = record.cid
            blobs.update(ref.blob_cid for ref in find_blob_refs(record.value))
    path.unlink()
    return records, blobs


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
