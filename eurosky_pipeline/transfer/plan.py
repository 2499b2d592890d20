"""What a transfer has to move: the manifest, less what the destination has.

Nobody's word alone decides. The destination's list of missing blobs leaves out what was uploaded before a record
referenced it, and on some servers what only legacy references name; the ledger knows nothing of what became of an
account since. So a blob counts as there if

    it is not listed as missing, and   the ledger saw it arrive after the repository was imported
                                   or  the destination gives it out when asked for it
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome, already_there
from eurosky_pipeline.transfer.manifest import ManifestRow
from eurosky_pipeline.transfer.presence import each_presence
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import list_missing_blobs
from eurosky_pipeline.xrpc.errors import RateLimited

IMPORTED_AT = "repo_imported_at"
"""The key of `progress_data` under which the moment of the last import stands."""


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """What is to be done.

    Attributes:
        to_move: by CID.
        arrived_before: how many blobs of the manifest the ledger rightly has as arrived, and `arrived_bytes` of them
            that this migration has moved.
        bytes_to_move: as far as records tell.
        found: blobs that are there without the ledger knowing; outcomes that are yet to be written.
    """

    to_move: list[Cid]
    arrived_before: int = 0
    arrived_bytes: int = 0
    found: tuple[BlobOutcome, ...] = ()
    bytes_to_move: int = 0


def plan_transfer(
    destination: XrpcClient,
    did: str,
    manifest: Iterable[ManifestRow],
    ledger: Iterable[BlobOutcome],
    *,
    imported_at: datetime | None,
    workers: int,
    stop: threading.Event,
) -> TransferPlan:
    """Ask the destination, and sort the manifest's blobs.

    Args:
        destination: a client with the account's session.
        ledger: of the same migration.
        imported_at: when the repository was imported; None if that is not known.

    Raises: TransientError where the destination cannot be asked, or limits how often; FatalError for a refused session.
    """
    missing = _missing(destination)
    moved_bytes: dict[Cid, int] = {}  # 0 for one that was there without us
    sure: set[Cid] = set()
    for known in ledger:
        if known.is_there:
            moved_bytes[known.blob_cid] = known.size_bytes if known.outcome is Outcome.TRANSFERRED else 0
            if imported_at is not None and known.ended_at is not None and known.ended_at >= imported_at:
                sure.add(known.blob_cid)
    to_move: list[Cid] = []
    doubtful: dict[Cid, ManifestRow] = {}
    arrived_before = arrived_bytes = bytes_to_move = 0
    for row in manifest:
        cid = row.blob_cid
        if missing is None and cid not in moved_bytes:
            to_move.append(cid)  # the destination tells nothing; most likely this is the first run
            bytes_to_move += row.size_bytes or 0
        elif missing is not None and cid in missing:
            missing.discard(cid)  # not in memory twice
            to_move.append(cid)
            bytes_to_move += row.size_bytes or 0
        elif missing is not None and cid in sure:
            arrived_before += 1
            arrived_bytes += moved_bytes[cid]
        else:
            doubtful[cid] = row
    found: list[BlobOutcome] = []
    for presence in each_presence(destination, did, doubtful, workers=workers, stop=stop):
        cid = presence.blob_cid
        if isinstance(presence.error, RateLimited):
            raise presence.error  # to send what may be there would use up more of the host's patience
        if not presence.is_there:
            to_move.append(cid)
            bytes_to_move += doubtful[cid].size_bytes or 0
        elif cid in moved_bytes:
            arrived_before += 1
            arrived_bytes += moved_bytes[cid]
        else:
            row = doubtful[cid]
            found.append(already_there(cid, row.size_bytes, row.mime_type))
    to_move.sort()
    return TransferPlan(to_move, arrived_before, arrived_bytes, tuple(found), bytes_to_move)


def _missing(destination: XrpcClient) -> set[Cid] | None:
    """What the destination lists as missing; None where it has no such list."""
    try:
        return {row.blob_cid for row in list_missing_blobs(destination)}
    except PermanentError:
        return None
