"""What an earlier run has already brought to the destination, by two witnesses that must agree."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from eurosky_pipeline.registry.ledger import BlobOutcome
from eurosky_pipeline.transfer.presence import look_for_blobs
from eurosky_pipeline.xrpc.client import XrpcClient


def arrived_before(
    destination: XrpcClient, did: str, ledger: Iterable[BlobOutcome], *, workers: int, stop: threading.Event
) -> list[BlobOutcome]:
    """The blobs that need not be sent again: the ledger saw the destination accept them with their own CID and size,
    and the destination gives them out now.

    Its list of missing blobs is no witness: it leaves out what was uploaded before a record referenced it, and such a
    blob is not there. Raises FatalError for a refused session.
    """
    transferred = {outcome.blob_cid: outcome for outcome in ledger if outcome.is_there}
    seen = look_for_blobs(destination, did, transferred, workers=workers, stop=stop)
    return [outcome for cid, outcome in transferred.items() if seen[cid]]
