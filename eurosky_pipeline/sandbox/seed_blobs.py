"""The seeded account's blobs: which there are, and their way to the source PDS."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.atproto.cid import RAW_PREFIX, Cid
from eurosky_pipeline.errors import IntegrityError
from eurosky_pipeline.sandbox.pictures import MIN_BLOB_BYTES, blob_pieces
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient
from eurosky_pipeline.xrpc.endpoints import UploadedBlob, upload_blob

MAX_PICTURE_BYTES = 1_000_000
"""The largest image that a profile's lexicon takes; posts take twice as much."""
BIG_BLOB_BYTES = 5 * 1024 * 1024 + 256 * 1024
"""Larger than 5 MB however one counts: what a PDS with the default upload limit refuses."""
UPLOAD_WORKERS = 4
_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")
_SPREAD = 0.8  # of the sizes' logarithms: two thirds lie between 0.3 and 1.6 times the mean
REPORT_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class PlannedBlob:
    """A blob that can be made at any time: the same plan, the same bytes.

    Attributes:
        noise_seed: decides its content, and with that its CID.
    """

    noise_seed: str
    mime_type: str
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, as a stream."""
        return blob_pieces(self.mime_type, self.size_bytes, random.Random(self.noise_seed))  # noqa: S311 - no secret

    def facts(self) -> UploadedBlob:
        """What a PDS must say of it, worked out here."""
        sha256 = hashlib.sha256()
        for piece in self.pieces():
            sha256.update(piece)
        return UploadedBlob(Cid(RAW_PREFIX + sha256.digest()), self.mime_type, self.size_bytes)


def plan_blobs(
    count: int, *, mean_bytes: int, limit_bytes: int, seed: str, has_only_pictures: bool = False
) -> list[PlannedBlob]:
    """`count` distinct blobs whose sizes spread around a mean; the same arguments give the same blobs.

    Of three and more, one is over 5 MB (where `limit_bytes` lets it be). Most are pictures of four formats; those too
    large for a picture, and every fifth, are videos and plain bytes in turn.

    Args:
        mean_bytes: of the sizes, but for the one over 5 MB.
        limit_bytes: no blob is larger.
        has_only_pictures: no videos, no plain bytes; `limit_bytes` should be at most `MAX_PICTURE_BYTES` then.
    """
    chance = random.Random(f"{seed}/sizes")  # noqa: S311 - no secret
    factors = [math.exp(chance.gauss(0, _SPREAD)) for _ in range(count)]
    scale = mean_bytes * count / sum(factors) if factors else 0
    sizes = [_even_size(factor * scale, limit_bytes) for factor in factors]
    if count >= 3 and max(sizes) <= BIG_BLOB_BYTES <= limit_bytes:
        sizes[count // 2] = BIG_BLOB_BYTES
    mime_types = [
        _PICTURES[index % len(_PICTURES)] if has_only_pictures else _mime_type(index, size_bytes)
        for index, size_bytes in enumerate(sizes)
    ]
    return [
        PlannedBlob(f"{seed}/{index}", mime_type, size_bytes)
        for index, (mime_type, size_bytes) in enumerate(zip(mime_types, sizes, strict=True))
    ]


def upload_blobs(client: XrpcClient, blobs: Sequence[PlannedBlob], report: Callable[[str], None]) -> None:
    """Make each blob on disk, upload it, and compare what the host says of it with what it is; a few at a time.

    Raises:
        IntegrityError: the host stored something else.
        The errors of `xrpc.errors`; the first ends the rest.
    """
    if not blobs:
        return
    report(f"uploading {len(blobs)} blobs ({sum(blob.size_bytes for blob in blobs) / 1e6:.1f} MB)")
    reported_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="eurosky-seed-") as folder:
        pool = ThreadPoolExecutor(UPLOAD_WORKERS, thread_name_prefix="seed")
        try:
            uploads = [
                pool.submit(_upload, client, blob, Path(folder) / str(index)) for index, blob in enumerate(blobs)
            ]
            for done, upload in enumerate(as_completed(uploads), start=1):
                upload.result()
                if time.monotonic() > reported_s + REPORT_INTERVAL_S:
                    reported_s = time.monotonic()
                    report(f"uploaded {done} of {len(blobs)} blobs")
        finally:
            pool.shutdown(cancel_futures=True)


def _upload(client: XrpcClient, blob: PlannedBlob, path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(blob.pieces())
    stored = upload_blob(client, UploadBody(path, blob.size_bytes, blob.mime_type))
    path.unlink()
    if stored != blob.facts():
        raise IntegrityError(f"{client.host} stored a blob as {stored}, and it is {blob.facts()}")


def _even_size(size_bytes: float, limit_bytes: int) -> int:
    return int(min(max(size_bytes, MIN_BLOB_BYTES), limit_bytes)) // 2 * 2


def _mime_type(index: int, size_bytes: int) -> str:
    if size_bytes > MAX_PICTURE_BYTES or index % 5 == 4:
        return "application/octet-stream" if index % 2 else "video/mp4"
    return _PICTURES[index % len(_PICTURES)]
