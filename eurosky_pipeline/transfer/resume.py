"""What an earlier run has already brought to the destination, by two witnesses that must agree."""

from __future__ import annotations

from collections.abc import Iterable

from eurosky_pipeline.errors import PermanentError, TransientError
from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import list_missing_blobs


def arrived_before(destination: XrpcClient, ledger: Iterable[BlobOutcome]) -> list[BlobOutcome]:
    """The blobs that need not be sent again: the ledger saw the destination accept them with their own CID and size,
    and the destination does not list them as missing.

    A destination that does not tell what it misses gets everything again. Raises FatalError for a refused session.
    """
    transferred = [outcome for outcome in ledger if outcome.is_transferred]
    if not transferred:
        return []
    try:
        missing = {row.blob_cid for row in list_missing_blobs(destination)}
    except (PermanentError, TransientError):
        return []
    return [outcome for outcome in transferred if outcome.blob_cid not in missing]
