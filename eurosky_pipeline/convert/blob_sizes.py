"""The sizes of blobs that records do not tell: asked of the source, several at a time, at the pace that it allows.

A size that cannot be had is an outcome with its reason, and no error: what becomes of such a blob is for others to say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import PermanentError, TransientError
from eurosky_pipeline.xrpc.blob_size import blob_size
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries
from eurosky_pipeline.xrpc.workers import run_workers

GIVE_UP_AFTER = 10
"""Blobs in a row whose every try failed: it is not the blobs then, but the host."""
MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class BlobSizes:
    """What was found out, both in the order of the CIDs.

    Attributes:
        sizes: in bytes, 1 to 2**53 - 1, on the source's word.
        unknown: for each other blob that was asked for, why its size is not known, in one line.
    """

    sizes: Mapping[Cid, int]
    unknown: Mapping[Cid, str]


def fetch_blob_sizes(
    source: XrpcClient,
    did: str,
    cids: Iterable[Cid],
    *,
    workers: int = 5,
    stop: threading.Event,
    retry: RetryPolicy | None = None,
    pace: HostPace | None = None,
    max_blob_bytes: int = 2 * 1024**3,
    on_size: Callable[[Cid, int | None], None] = lambda _cid, _size: None,
) -> BlobSizes:
    """Ask the source for the size of each blob, once however often it stands in `cids`.

    A blob that the source does not give out, or whose size could not be had with all retries, is unknown. After
    `GIVE_UP_AFTER` in a row that failed with all retries, each further one gets a single try until one succeeds.

    Args:
        source: with the account's session where the account is deactivated.
        workers: requests at the same time.
        stop: ends it within the time of one answer; set, too, when this raises.
        retry: how often and how long (None: a policy's defaults).
        pace: shared with whoever else asks the source (None: the source's own, if it has one).
        max_blob_bytes: of a blob whose size the source does not tell, and which has to be counted.
        on_size: told of each blob, in this thread, as its size (None: unknown) comes to be known.

    Raises:
        FatalError: nothing will work for the other blobs either: session refused, repository not given out, stopped.
        RateLimited: the source's limit lasts longer than `retry.max_wait_s`, or than all retries.
        HostUnreachable: for `GIVE_UP_AFTER` blobs in a row no answer came.
    """
    retry = retry or RetryPolicy()
    paced = source.with_pace(pace or source.pace or HostPace(source.host, max_wait_s=retry.max_wait_s), stop)
    ask = partial(_ask, partial(blob_size, paced, did, max_bytes=max_blob_bytes, stop=stop), stop)
    once = RetryPolicy(retries=0, max_wait_s=retry.max_wait_s)
    sizes: dict[Cid, int] = {}
    unknown: dict[Cid, str] = {}
    failures_in_a_row = 0

    def ask_by_now(cid: Cid) -> tuple[Cid, int | PermanentError | TransientError]:
        return ask(once if failures_in_a_row >= GIVE_UP_AFTER else retry, cid)

    with closing(run_workers(sorted(set(cids)), ask_by_now, workers=workers, stop=stop)) as answers:
        for cid, found in answers:
            failures_in_a_row = failures_in_a_row + 1 if isinstance(found, TransientError) else 0
            if isinstance(found, HostUnreachable) and failures_in_a_row >= GIVE_UP_AFTER:
                raise found
            if isinstance(found, int):
                sizes[cid] = found
            else:
                unknown[cid] = found.message[:MAX_REASON_CHARS]
            on_size(cid, sizes.get(cid))
    return BlobSizes(dict(sorted(sizes.items())), dict(sorted(unknown.items())))


def _ask(
    size_of: Callable[[Cid], int], stop: threading.Event, policy: RetryPolicy, cid: Cid
) -> tuple[Cid, int | PermanentError | TransientError]:
    try:
        return cid, with_retries(partial(size_of, cid), policy, stop=stop)
    except RateLimited:  # it is the host's, and not this blob's
        raise
    except (PermanentError, TransientError) as error:
        return cid, error
