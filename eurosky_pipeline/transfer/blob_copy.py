"""One blob from the source to the destination: down to a file while it is hashed, compared, up, compared, deleted."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.artifacts.workspace import disk_errors_named
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import (
    EuroskyError,
    FatalError,
    IntegrityError,
    PermanentError,
    StoppedError,
    TransientError,
)
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_blob, upload_blob
from eurosky_pipeline.xrpc.errors import AnswerInvalid, BlobNotFound, BlobTakenDown, BlobTooLarge

DEFAULT_MIME_TYPE = "application/octet-stream"

_OUTCOMES: list[tuple[type[EuroskyError], Outcome]] = [
    (BlobNotFound, Outcome.MISSING_AT_SOURCE),
    (BlobTooLarge, Outcome.TOO_LARGE),
    (BlobTakenDown, Outcome.TAKEN_DOWN),
    (IntegrityError, Outcome.CORRUPT_AT_SOURCE),
    (PermanentError, Outcome.FAILED),
    (TransientError, Outcome.FAILED),
]


@dataclass(frozen=True, slots=True)
class _Downloaded:
    path: Path
    size_bytes: int
    mime_type: str


@dataclass(frozen=True, slots=True)
class BlobCopier:
    """Copies blobs of one account; called by several threads at once.

    Args:
        source: asked for `getBlob`; destination: a client with the account's session, given `uploadBlob`.
        folder: where a blob is while it is under way, under its CID.
        max_bytes: a larger blob is not downloaded to its end.
        stop: set to end all copies within one chunk.
        on_bytes: told of bytes as they arrive at the destination; called from the copying threads.
    """

    source: XrpcClient
    destination: XrpcClient
    did: str
    folder: Path
    max_bytes: int
    stop: threading.Event
    on_bytes: Callable[[int], None] | None = None

    def __call__(self, blob_cid: Cid) -> BlobOutcome:
        """What became of the blob. Memory does not depend on its size, and its file is gone afterwards.

        Raises:
            FatalError: nothing will work for the other blobs either: session refused, disk full, asked to stop.
        """
        started_s = time.monotonic()
        path = self.folder / str(blob_cid)
        try:
            blob = self._download(blob_cid, path)
            self._upload(blob_cid, blob)
        except FatalError:
            raise
        except EuroskyError as error:
            outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
            return BlobOutcome(
                blob_cid,
                outcome,
                download_s=time.monotonic() - started_s,
                error_code=error.code,
                error_text=error.message,
            )
        finally:
            path.unlink(missing_ok=True)
        return BlobOutcome(
            blob_cid,
            Outcome.TRANSFERRED,
            size_bytes=blob.size_bytes,
            mime_type=blob.mime_type,
            download_s=time.monotonic() - started_s,
        )

    def _download(self, blob_cid: Cid, path: Path) -> _Downloaded:
        digest, size_bytes = hashlib.sha256(), 0
        with get_blob(self.source, self.did, blob_cid) as download:
            self._refuse_oversize(blob_cid, download.size_bytes or 0)
            with disk_errors_named(path), path.open("wb") as file:
                for chunk in download.chunks:
                    if self.stop.is_set():
                        raise StoppedError("the transfer was asked to stop")
                    size_bytes += len(chunk)
                    self._refuse_oversize(blob_cid, size_bytes)
                    digest.update(chunk)
                    file.write(chunk)
        if digest.digest() != blob_cid.digest:
            raise IntegrityError(
                f"{self.source.host} sent {size_bytes} bytes for blob {blob_cid} that do not hash to it",
                code="corrupt_at_source",
            )
        return _Downloaded(path, size_bytes, download.mime_type or DEFAULT_MIME_TYPE)

    def _upload(self, blob_cid: Cid, blob: _Downloaded) -> None:
        if self.stop.is_set():
            raise StoppedError("the transfer was asked to stop")
        stored = upload_blob(self.destination, UploadBody(blob.path, blob.size_bytes, blob.mime_type, self.on_bytes))
        if stored.blob_cid != blob_cid or stored.size_bytes != blob.size_bytes:
            raise AnswerInvalid(
                f"{self.destination.host} stored {stored.size_bytes} bytes as {stored.blob_cid} "
                f"when given the {blob.size_bytes} bytes of {blob_cid}",
                code="stored_differently",
            )

    def _refuse_oversize(self, blob_cid: Cid, size_bytes: int) -> None:
        if size_bytes > self.max_bytes:
            raise BlobTooLarge(
                f"{self.source.host} sends {size_bytes} bytes or more for blob {blob_cid}; "
                f"at most {self.max_bytes} are accepted",
                hint="raise EUROSKY_MAX_BLOB_BYTES, or the destination's upload limit",
            )
