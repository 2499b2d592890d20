"""Artifacts on S3, or on what speaks like it, through UPath and s3fs.

    <bucket>/<prefix>/<token>/account.car     its SHA-256 is the object's metadata `sha256`

Both ways a file passes in parts of 8 MiB, one at a time, so that memory does not follow its size; it is hashed on the
way. The sum is written with the object, so there is no moment in which it belongs to another one. An object of several
parts is there when all of them are, and the parts of a transfer that fails are taken back; those that a killed run
left, the next one takes back.

Imported only where artifacts are on S3: the packages are an optional extra, and cost a second.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from s3fs import S3FileSystem
from upath import UPath

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX, disk_errors_named, require_room, sha256_of
from eurosky_pipeline.artifacts.s3_errors import host_of, is_gone, is_refused, s3_errors_named
from eurosky_pipeline.artifacts.store import Removed, Stored, damaged, missing
from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.settings import S3Location

PART_BYTES: Final = 8 * 1024 * 1024
MAX_PARTS: Final = 10_000
_CONFIG: Final = {
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "user_agent_extra": "eurosky",
}
_BODY_ATTEMPTS: Final = 2
"""For an answer that breaks off after it has begun; all else is tried again by botocore, as configured above."""


class S3Store:
    """The artifacts of one migration, below a prefix of their own. Raises as ArtifactStore says.

    Args:
        stop: ends a transfer, between two parts, as a StoppedError.
    """

    def __init__(self, location: S3Location, token: str, stop: threading.Event | None = None) -> None:
        # a client of its own: one that is kept would go on with the keys and the endpoint of yesterday
        options: dict[str, Any] = {"config_kwargs": _CONFIG, "use_listings_cache": False, "skip_instance_cache": True}
        self._folder = UPath(str(location), **options) / token
        self._bucket = location.bucket
        self._prefix = "/".join(filter(None, (location.prefix, token))) + "/"
        self._stop = stop or threading.Event()
        with self._named(""):
            self._fs: S3FileSystem = self._folder.fs
            self._fs.retries = _BODY_ATTEMPTS

    def uri(self, name: str) -> str:
        return str(self._folder / name)

    def put(self, local: Path, name: str) -> Stored:
        with disk_errors_named(local):
            sha256, size_bytes = sha256_of(local), local.stat().st_size
        with disk_errors_named(local), local.open("rb") as file, self._named(name):
            if size_bytes <= PART_BYTES:
                self._send_whole(name, _read(file, PART_BYTES + 1), sha256)
            else:
                self._send_parts(name, file, size_bytes, sha256)
        expected = Stored(self.uri(name), size_bytes, sha256)
        if self.describe(name) != expected:
            raise damaged(expected.uri, "is not what was sent there")
        return expected

    def get(self, name: str, local: Path) -> None:
        found = self.describe(name)
        if found is None:
            with self._named(name):
                self._call("head_bucket", Key=None)
            raise missing(name)
        require_room(local.parent, found.size_bytes)
        partial = local.with_name(local.name + PARTIAL_SUFFIX)
        try:
            with disk_errors_named(local), partial.open("wb") as target:
                sha256 = self._receive(name, found.size_bytes, target)
                target.flush()
                os.fsync(target.fileno())
            if sha256 != found.sha256:
                raise damaged(found.uri, "is not the file that was kept there: its SHA-256 is another, or missing")
            partial.replace(local)
        finally:
            partial.unlink(missing_ok=True)

    def describe(self, name: str) -> Stored | None:
        with self._named(name):
            try:
                head = self._call("head_object", name)
            except OSError as error:
                if not is_gone(error):
                    raise
                return None
        return Stored(self.uri(name), int(head["ContentLength"]), str(head.get("Metadata", {}).get("sha256", "")))

    def delete(self, *names: str) -> None:
        for name in names:
            with self._named(name):
                self._call("delete_object", name)

    def delete_all(self) -> Removed:
        self.clear_leftovers()
        with self._named(""):
            found = {item["Key"]: int(item["Size"]) for item in self._listed("list_objects_v2", "Contents")}
            for key in found:
                self._call("delete_object", Key=key)
            self._delete_versions()
        names = tuple(f"s3://{self._bucket}/{key}" for key in sorted(found))
        return Removed(names, sum(found.values()))

    def clear_leftovers(self) -> None:
        with self._named(""):
            try:
                uploads = list(self._listed("list_multipart_uploads", "Uploads"))
                for upload in uploads:
                    self._call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
            except OSError as error:
                if not is_refused(error):  # then the bucket's own rule for unfinished uploads has to do
                    raise

    def _send_whole(self, name: str, data: bytes, sha256: str) -> None:
        self._require_same(name, hashlib.sha256(data).hexdigest(), sha256)
        self._call("put_object", name, Body=data, Metadata={"sha256": sha256})

    def _send_parts(self, name: str, file: BinaryIO, size_bytes: int, sha256: str) -> None:
        part_bytes = max(PART_BYTES, -(-size_bytes // MAX_PARTS))
        begun = self._call("create_multipart_upload", name, Metadata={"sha256": sha256})
        upload, digest, parts = begun["UploadId"], hashlib.sha256(), list[dict[str, Any]]()
        try:
            while data := _read(file, part_bytes):
                self._go_on(name)
                digest.update(data)
                number = len(parts) + 1
                sent = self._call("upload_part", name, UploadId=upload, PartNumber=number, Body=data)
                sums = {
                    key: value for key, value in sent.items() if key.startswith("Checksum") and key != "ChecksumType"
                }
                parts.append({"PartNumber": number, "ETag": sent["ETag"], **sums})
            self._require_same(name, digest.hexdigest(), sha256)
            self._complete(name, upload, parts, Stored(self.uri(name), size_bytes, sha256))
        except BaseException:
            with suppress(Exception):  # what went wrong is told; the next run takes back what is left
                self._call("abort_multipart_upload", name, UploadId=upload)
            raise

    def _complete(self, name: str, upload: str, parts: list[dict[str, Any]], expected: Stored) -> None:
        """Where the answer is lost, asking again finds no such upload: what counts is whether the object is there."""
        try:
            self._call("complete_multipart_upload", name, UploadId=upload, MultipartUpload={"Parts": parts})
        except Exception:
            if self.describe(name) != expected:
                raise

    def _receive(self, name: str, size_bytes: int, target: BinaryIO) -> str:
        """Write the object's bytes; returns their SHA-256 in hex."""
        digest = hashlib.sha256()
        path = f"{self._bucket}/{self._prefix}{name}"
        with self._named(name), self._fs.open(path, "rb", block_size=PART_BYTES, cache_type="none") as origin:
            for _ in range(0, size_bytes, PART_BYTES):
                self._go_on(name)
                data = origin.read(PART_BYTES)
                digest.update(data)
                with disk_errors_named(Path(target.name)):
                    target.write(data)
        return digest.hexdigest()

    def _delete_versions(self) -> None:
        """In a bucket with versions, deleting only hides: remove what is hidden too."""
        try:
            for kind in ("Versions", "DeleteMarkers"):
                for item in list(self._listed("list_object_versions", kind)):
                    self._call("delete_object", Key=item["Key"], VersionId=item["VersionId"])
        except OSError as error:
            if not is_refused(error):
                raise

    def _listed(self, method: str, kind: str) -> Iterator[dict[str, Any]]:
        """What a listing of the migration's prefix holds, page by page."""
        place: dict[str, Any] = {}
        while True:
            page = self._fs.call_s3(method, Bucket=self._bucket, Prefix=self._prefix, **place)
            yield from page.get(kind) or ()
            place = {
                argument: page[marker]
                for argument, marker in (
                    ("ContinuationToken", "NextContinuationToken"),
                    ("KeyMarker", "NextKeyMarker"),
                    ("UploadIdMarker", "NextUploadIdMarker"),
                    ("VersionIdMarker", "NextVersionIdMarker"),
                )
                if page.get(marker)
            }
            if not page.get("IsTruncated") or not place:
                return

    def _call(self, method: str, name: str = "", **arguments: Any) -> dict[str, Any]:
        """One request, about this name unless `Key` says otherwise. Raises OSError, and what botocore raises."""
        named = {"Bucket": self._bucket, "Key": self._prefix + name, **arguments}
        answer: dict[str, Any] = self._fs.call_s3(
            method, **{argument: value for argument, value in named.items() if value is not None}
        )
        return answer

    def _require_same(self, name: str, found: str, expected: str) -> None:
        if found != expected:
            raise damaged(self.uri(name), "was not written: the file changed while it was read")

    def _go_on(self, name: str) -> None:
        if self._stop.is_set():
            raise StoppedError(f"the transfer of {self.uri(name)} was asked to stop")

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        def endpoint() -> str:
            with suppress(Exception):
                return host_of(self._fs.s3.meta.endpoint_url)
            return "S3"

        with s3_errors_named(self.uri(name).rstrip("/"), endpoint):
            yield


def _read(file: BinaryIO, size_bytes: int) -> bytes:
    """The next bytes of a local file, whose faults are the disk's and not the store's."""
    with disk_errors_named(Path(file.name)):
        return file.read(size_bytes)
