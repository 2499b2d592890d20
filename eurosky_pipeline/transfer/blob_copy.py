"""One blob from the source to the destination: down to a file while it is hashed, compared, up, compared, deleted.

Each of the two ways is tried again by itself: what has come down once, and was found right, does not come down again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from eurosky_pipeline.artifacts.disk import disk_errors_named, require_room
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
from eurosky_pipeline.xrpc.errors import AnswerInvalid, BlobNotFound, BlobTakenDown, BlobTooLarge, RateLimited
from eurosky_pipeline.xrpc.pacing import Pause
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries

DEFAULT_MIME_TYPE = "application/octet-stream"

Result = TypeVar("Result")


class WrongBytesError(TransientError):
    """What came does not hash to the blob's CID. It may have been damaged on its way, so it is fetched again."""

    default_code = "corrupt_at_source"


_OUTCOMES: list[tuple[type[EuroskyError], Outcome]] = [
    (BlobNotFound, Outcome.MISSING_AT_SOURCE),
    (BlobTooLarge, Outcome.TOO_LARGE),
    (BlobTakenDown, Outcome.TAKEN_DOWN),
    (WrongBytesError, Outcome.CORRUPT_AT_SOURCE),
    (IntegrityError, Outcome.CORRUPT_AT_SOURCE),
    (PermanentError, Outcome.FAILED),
    (TransientError, Outcome.FAILED),
]
_CLASSES: list[tuple[type[EuroskyError], str]] = [
    (WrongBytesError, "integrity"),
    (IntegrityError, "integrity"),
    (PermanentError, "permanent"),
    (TransientError, "transient"),
]


@dataclass(frozen=True, slots=True)
class BlobCopier:
    """Copies blobs of one account; called by several threads at once.

    Args:
        source: asked for `getBlob`; destination: a client with the account's session, given `uploadBlob`.
        folder: where a blob is while it is under way, under its CID.
        max_bytes: a larger blob is not downloaded to its end.
        stop: set to end all copies within one chunk.
        policy: how often each of the two ways is tried.
        on_bytes: told of bytes as they leave for the destination; called from the copying threads.
        pause: stands in for time, in tests.
    """

    source: XrpcClient
    destination: XrpcClient
    did: str
    folder: Path
    max_bytes: int
    stop: threading.Event
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    on_bytes: Callable[[int], None] = lambda _: None
    pause: Pause = threading.Event.wait

    def __call__(self, blob_cid: Cid) -> BlobOutcome:
        """What became of the blob. Memory does not depend on its size, and its file is gone afterwards.

        Raises:
            RateLimited: a host wants more patience than the policy has; nothing is wrong with the blob.
            FatalError: nothing will work for the other blobs either: session refused, disk full, asked to stop.
        """
        return _Copy(self, blob_cid).run()


@dataclass(frozen=True, slots=True)
class _Downloaded:
    size_bytes: int
    mime_type: str


class _Copy:
    """One blob under way, and what it has taken so far."""

    def __init__(self, copier: BlobCopier, blob_cid: Cid) -> None:
        self._copier = copier
        self._blob_cid = blob_cid
        self._path = copier.folder / str(blob_cid)
        self._started_at = datetime.now(UTC)
        self._attempts = self._bytes_moved = 0
        self._download_s = self._upload_s = 0.0

    def run(self) -> BlobOutcome:
        try:
            started_s = time.monotonic()
            try:
                blob = self._tried(self._download)
            finally:
                self._download_s = time.monotonic() - started_s
            started_s = time.monotonic()
            try:
                self._tried(lambda: self._upload(blob))
            finally:
                self._upload_s = time.monotonic() - started_s
        except (FatalError, RateLimited):
            raise
        except EuroskyError as error:
            return self._outcome(
                next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)),
                error_class=next(name for kind, name in _CLASSES if isinstance(error, kind)),
                error_code=error.code,
                error_text=error.message,
            )
        finally:
            self._path.unlink(missing_ok=True)
        return self._outcome(Outcome.TRANSFERRED, size_bytes=blob.size_bytes, mime_type=blob.mime_type)

    def _tried(self, work: Callable[[], Result]) -> Result:
        def attempt() -> Result:
            self._require_going_on()
            self._attempts += 1
            return work()

        return with_retries(attempt, self._copier.policy, stop=self._copier.stop, pause=self._copier.pause)

    def _download(self) -> _Downloaded:
        source, digest, size_bytes = self._copier.source, hashlib.sha256(), 0
        with get_blob(source, self._copier.did, self._blob_cid) as download:
            announced_bytes = download.size_bytes or 0
            self._refuse_oversize(announced_bytes)
            require_room(self._copier.folder, announced_bytes)
            with disk_errors_named(self._path), self._path.open("wb", buffering=0) as file:
                for chunk in download.chunks:
                    self._require_going_on()
                    size_bytes += len(chunk)
                    self._bytes_moved += len(chunk)
                    self._refuse_oversize(size_bytes)
                    digest.update(chunk)
                    file.write(chunk)
        if digest.digest() != self._blob_cid.digest:
            raise WrongBytesError(
                f"{source.host} sent {size_bytes} bytes for blob {self._blob_cid} that do not hash to it"
            )
        return _Downloaded(size_bytes, download.mime_type or DEFAULT_MIME_TYPE)

    def _upload(self, blob: _Downloaded) -> None:
        destination = self._copier.destination
        body = UploadBody(self._path, blob.size_bytes, blob.mime_type, self._sent)
        stored = upload_blob(destination, body)
        if stored.blob_cid != self._blob_cid or stored.size_bytes != blob.size_bytes:
            raise AnswerInvalid(
                f"{destination.host} stored {stored.size_bytes} bytes as {stored.blob_cid} "
                f"when given the {blob.size_bytes} bytes of {self._blob_cid}",
                code="stored_differently",
            )

    def _sent(self, count: int) -> None:
        self._require_going_on()
        self._bytes_moved += count
        self._copier.on_bytes(count)

    def _require_going_on(self) -> None:
        if self._copier.stop.is_set():
            raise StoppedError("the transfer was asked to stop")

    def _refuse_oversize(self, size_bytes: int) -> None:
        if size_bytes > self._copier.max_bytes:
            raise BlobTooLarge(
                f"{self._copier.source.host} sends {size_bytes} bytes or more for blob {self._blob_cid}; "
                f"at most {self._copier.max_bytes} are accepted",
                hint="raise EUROSKY_MAX_BLOB_BYTES, or the destination's upload limit",
            )

    def _outcome(
        self,
        outcome: Outcome,
        *,
        size_bytes: int = 0,
        mime_type: str = "",
        error_class: str = "",
        error_code: str = "",
        error_text: str = "",
    ) -> BlobOutcome:
        return BlobOutcome(
            self._blob_cid,
            outcome,
            size_bytes=size_bytes,
            mime_type=mime_type,
            attempts=self._attempts,
            bytes_moved=self._bytes_moved,
            download_s=self._download_s,
            upload_s=self._upload_s,
            error_class=error_class,
            error_code=error_code,
            error_text=error_text,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
        )
