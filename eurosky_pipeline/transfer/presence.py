"""Whether blobs really are at a server: asked of it one by one, since no list and no count can be trusted with that.

A blob that was uploaded before a record referenced it counts as imported and is not listed as missing, and yet the
reference PDS does not have it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import EuroskyError, PermanentError, StoppedError, TransientError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import find_blob
from eurosky_pipeline.xrpc.errors import RepoUnavailable
from eurosky_pipeline.xrpc.workers import run_workers


class Presence(NamedTuple):
    """What a server says of one blob.

    `is_there` is None where it does not tell, and `error` then says why; `size_bytes` is what it would send, None
    where it does not tell that.
    """

    blob_cid: Cid
    is_there: bool | None
    size_bytes: int | None = None
    error: EuroskyError | None = None


def each_presence(
    client: XrpcClient, did: str, cids: Iterable[Cid], *, workers: int, stop: threading.Event
) -> Iterator[Presence]:
    """Ask the server for each blob; the answers in the order in which they come.

    A server that asks for patience does not tell: that is the one way in which a `RateLimited` gets into an answer.

    Raises: FatalError for a refused session, StoppedError if `stop` is set.
    """
    return run_workers(cids, partial(_look, client, did, stop), workers=workers, stop=stop)


def _look(client: XrpcClient, did: str, stop: threading.Event, cid: Cid) -> Presence:
    if stop.is_set():
        raise StoppedError("asked to stop while it looked for blobs")
    try:
        found = find_blob(client, did, cid)
    except (PermanentError, TransientError, RepoUnavailable) as error:
        return Presence(cid, None, error=error)
    return Presence(cid, found is not None, found.size_bytes if found else None)
