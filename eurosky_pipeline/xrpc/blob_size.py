"""How large a blob is, asked of the host that has it, and no more of it read than that takes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress

from eurosky_pipeline.atproto.blob_refs import MAX_SIZE_BYTES
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import IntegrityError, PermanentError, StoppedError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import GET_BLOB, HEAD_TIMEOUT_S, get_blob
from eurosky_pipeline.xrpc.errors import AnswerInvalid, BlobTooLarge, HostUnreachable, ServerFault


def blob_size(client: XrpcClient, did: str, blob_cid: Cid, *, max_bytes: int, stop: threading.Event) -> int:
    """A blob's size in bytes, 1 to 2**53 - 1, on the host's word.

    HEAD; where that does not tell, GET, closed before its body; where that does not tell either, the body is read,
    counted and hashed, and no byte of it kept.

    Args:
        max_bytes: of a body that has to be counted.
        stop: ends the counting.

    Raises:
        BlobNotFound, BlobTakenDown: what a host says that does not give the blob out.
        BlobTooLarge, IntegrityError: the body is larger than `max_bytes`, or is not that of the CID.
        AnswerInvalid: the size that the host tells is none that a record may hold.
        StoppedError: `stop` was set.
    """
    with suppress(PermanentError, ServerFault, HostUnreachable):  # some hosts, or what stands before them, drop HEAD
        told = client.head(GET_BLOB, {"did": did, "cid": str(blob_cid)}, timeout_s=HEAD_TIMEOUT_S).size_bytes
        if told is not None and 0 < told <= MAX_SIZE_BYTES:
            return told
    with get_blob(client, did, blob_cid) as download:
        size_bytes = download.size_bytes
        if size_bytes is None:
            size_bytes = _counted(client, blob_cid, download.chunks, max_bytes, stop)
    if not 0 < size_bytes <= MAX_SIZE_BYTES:
        raise AnswerInvalid(f"{client.host} says that blob {blob_cid} has {size_bytes} bytes, and no blob can")
    return size_bytes


def _counted(client: XrpcClient, blob_cid: Cid, chunks: Iterator[bytes], max_bytes: int, stop: threading.Event) -> int:
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        if stop.is_set():
            raise StoppedError("the counting of a blob was asked to stop")
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise BlobTooLarge(
                f"{client.host} does not tell the size of blob {blob_cid}, and sends more than {max_bytes} bytes",
                hint="raise EUROSKY_MAX_BLOB_BYTES if that is right",
            )
    if digest.digest() != blob_cid.digest:
        raise IntegrityError(
            f"{client.host} sent {size_bytes} bytes for blob {blob_cid} that do not hash to it",
            code="corrupt_at_source",
        )
    return size_bytes
