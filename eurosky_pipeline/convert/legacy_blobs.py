"""The built-in record transform: blob references from before 2023 become what the protocol has now.

    before  {"cid": "bafkrei…", "mimeType": "image/jpeg"}          (just these two keys)
    after   {"$type": "blob", "ref": <link>, "mimeType": "image/jpeg", "size": 760898}

The size is the one thing that the old form does not tell. Where another reference of the same repository tells it, it
is known; else it is asked for. Spec: https://atproto.com/specs/data-model#blob-type
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.blob_refs import MAX_SIZE_BYTES, BlobRef, as_blob_ref, find_blob_refs
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.dag_cbor import LINK_HEAD
from eurosky_pipeline.errors import FatalError, IntegrityError
from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformContext, UnknownSize

SENTINEL_SIZE: Final = -1
_NAMED_BLOBS = 3
_KEEP_HINT = (
    "tell their sizes (`car convert --blob-sizes`), let such references stay as they are (UNKNOWN_BLOB_SIZE=keep, "
    "--unknown-size keep), or migrate with --no-convert-legacy-blobs"
)

# How the two forms look in a record's block. Keys stand in canonical order there, shorter ones first.
_MIME_TYPE_KEY: Final = b"hmimeType"
_BLOB_TYPE: Final = b"e$typedblob"
_LEGACY: Final = re.compile(rb"\xa2ccidx;b[a-z2-7]{58}" + _MIME_TYPE_KEY + rb"[^\x60]")  # which is the empty text
_CURRENT: Final = re.compile(
    rb"\xa4cref"
    + re.escape(LINK_HEAD)
    + rb"(.{36})dsize([\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b.{8})e\$typedblob"
    + _MIME_TYPE_KEY,
    re.DOTALL,
)


class BlobSizeUnknownError(FatalError):
    """The operator wants no conversion where a blob's size is not known, and one is not."""

    default_code = "blob_size_unknown"


class LegacyBlobs(RecordTransform):
    """Finds legacy references at any depth of any record, and converts those whose size is known."""

    name: ClassVar[str] = "legacy_blobs"
    version: ClassVar[str] = "1"
    needle: ClassVar[bytes] = _MIME_TYPE_KEY

    def __init__(self) -> None:
        self._claimed: dict[bytes, int] = {}  # by current references; 0 where they contradict each other
        self._legacy: set[Cid] = set()
        self._sizes: dict[Cid, int] = {}
        self._unknown_size = UnknownSize.KEEP
        self._counts = dict.fromkeys(
            (
                "refs_found",
                "refs_converted",
                "refs_kept",
                "distinct_blobs",
                "sizes_known",
                "sizes_asked",
                "sizes_unknown",
            ),
            0,
        )

    def scan(self, block: bytes) -> bool:
        """Whether the block holds the bytes of a legacy reference; sizes that current ones claim are noted."""
        found = _CURRENT.findall(block)
        for blob_cid, size in found:
            self._note(blob_cid, int.from_bytes(size[1:] or size, "big"))  # a small number is its own head
        if len(found) == block.count(_MIME_TYPE_KEY):  # as nearly always: then there are no other references
            return False
        if len(found) != block.count(_BLOB_TYPE):  # some have more than the four keys, or are none
            with suppress(IntegrityError):
                for ref in find_blob_refs(dag_cbor.decode(block)):
                    if ref.size_bytes is not None:
                        self._note(ref.blob_cid, ref.size_bytes)
        return _LEGACY.search(block) is not None

    def _note(self, blob_cid: bytes, size_bytes: int) -> None:
        if self._claimed.setdefault(blob_cid, size_bytes) != size_bytes:
            self._claimed[blob_cid] = 0

    def survey(self, record: Mapping[str, Any]) -> None:
        for ref in find_blob_refs(record):
            if ref.is_legacy:
                self._counts["refs_found"] += 1
                self._legacy.add(ref.blob_cid)

    def prepare(self, context: TransformContext) -> None:
        """Get the sizes together. Raises BlobSizeUnknownError by the policy `fail`, and what `blob_sizes` raises."""
        self._unknown_size = context.unknown_size
        if not self._legacy:
            return
        context.report(f"found {self._counts['refs_found']} legacy blob references to {len(self._legacy)} blobs")
        known = {blob_cid: self._claimed.get(blob_cid, 0) for blob_cid in sorted(self._legacy)}
        self._sizes = {blob_cid: size_bytes for blob_cid, size_bytes in known.items() if _is_size(size_bytes)}
        wanted = [blob_cid for blob_cid in known if blob_cid not in self._sizes]
        self._counts |= {
            "distinct_blobs": len(known), "sizes_known": len(self._sizes), "sizes_asked": len(wanted)
        }  # fmt: skip
        if wanted:
            self._ask(wanted, context)

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        whole = [record]
        pending: list[Any] = [whole]
        while pending:
            container = pending.pop()
            for place, value in container.items() if type(container) is dict else enumerate(container):
                if type(value) is dict and (ref := as_blob_ref(value)) is not None and ref.is_legacy:
                    container[place] = self._converted(ref) or value
                elif type(value) is dict or type(value) is list:
                    pending.append(value)
        return whole[0]

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def _ask(self, wanted: list[Cid], context: TransformContext) -> None:
        context.report(f"fetching the sizes of {len(wanted)} blobs")
        told = context.blob_sizes(wanted)
        found = {blob_cid: told[blob_cid] for blob_cid in wanted if _is_size(told.get(blob_cid, 0))}
        unknown = [blob_cid for blob_cid in wanted if blob_cid not in found]
        self._sizes |= found
        self._counts["sizes_unknown"] = len(unknown)
        context.report(f"fetched the sizes of {len(found)} blobs; {len(unknown)} are not known")
        if unknown and context.unknown_size is UnknownSize.FAIL:
            named = ", ".join(map(str, unknown[:_NAMED_BLOBS])) + (", …" if len(unknown) > _NAMED_BLOBS else "")
            raise BlobSizeUnknownError(
                f"the sizes of {len(unknown)} blobs with legacy references in the repository of {context.did} are not "
                f"known: {named}",
                hint=_KEEP_HINT,
            )

    def _converted(self, ref: BlobRef) -> dict[str, Any] | None:
        """The current form of a legacy reference; None if it has to stay as it is."""
        size_bytes = self._sizes.get(ref.blob_cid)
        if size_bytes is None and ref.blob_cid not in self._legacy:  # a transform before this one has made it
            claimed = self._claimed.get(ref.blob_cid, 0)
            size_bytes = claimed if _is_size(claimed) else None
        if size_bytes is None:
            if self._unknown_size is UnknownSize.FAIL:
                raise BlobSizeUnknownError(f"the size of the blob {ref.blob_cid} is not known", hint=_KEEP_HINT)
            if self._unknown_size is UnknownSize.KEEP:
                self._counts["refs_kept"] += 1
                return None
            size_bytes = SENTINEL_SIZE
        self._counts["refs_converted"] += 1
        return {"$type": "blob", "ref": ref.blob_cid, "mimeType": ref.mime_type, "size": size_bytes}


@hookimpl
def eurosky_record_transforms() -> list[type[RecordTransform]]:
    return [LegacyBlobs]


def _is_size(size_bytes: object) -> bool:
    """The current form must not hold a size of nothing, and JSON cannot say one that is larger."""
    return type(size_bytes) is int and 0 < size_bytes <= MAX_SIZE_BYTES
