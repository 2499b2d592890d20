"""Whether blobs really are at a server: asked of it one by one, since no list and no count can be trusted with that.

A blob that was uploaded before a record referenced it counts as imported and is not listed as missing, and yet the
reference PDS does not have it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import PermanentError, TransientError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import has_blob
from eurosky_pipeline.xrpc.errors import RepoUnavailable
from eurosky_pipeline.xrpc.workers import run_workers


def look_for_blobs(
    client: XrpcClient, did: str, cids: Iterable[Cid], *, workers: int, stop: threading.Event
) -> dict[Cid, bool | None]:
    """For each blob: True if the server has it, False if it says that it has not, None if it does not tell.

    Raises: FatalError for a refused session.
    """
    return dict(run_workers(cids, partial(_look, client, did), workers=workers, stop=stop))


def _look(client: XrpcClient, did: str, cid: Cid) -> tuple[Cid, bool | None]:
    try:
        return cid, has_blob(client, did, cid)
    except (PermanentError, TransientError, RepoUnavailable):
        return cid, None
