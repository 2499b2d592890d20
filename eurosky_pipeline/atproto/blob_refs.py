"""Where a record names a blob, in the current form and in the one from before 2023.

    current  {"$type": "blob", "ref": <link>, "mimeType": "image/png", "size": 760898}
    legacy   {"cid": "bafkrei…", "mimeType": "image/jpeg"}          (just these two keys)

Spec: https://atproto.com/specs/data-model#blob-type
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eurosky_pipeline.atproto.cid import Cid, CidError, parse_cid

MAX_SIZE_BYTES = 2**53 - 1
"""What a JSON number can say exactly; a record that claims more does not know its blob's size."""

_LEGACY_KEYS = {"cid", "mimeType"}


@dataclass(frozen=True, slots=True)
class BlobRef:
    """One reference; `size_bytes` is what the record claims, None in the legacy form or where it is no number."""

    blob_cid: Cid
    mime_type: str
    size_bytes: int | None
    is_legacy: bool


def find_blob_refs(record: Any) -> Iterator[BlobRef]:
    """Every blob reference in a decoded record, at any depth, in no particular order, repeated as it stands there."""
    pending = [record]
    while pending:
        value = pending.pop()
        if type(value) is list:
            pending.extend(value)
        elif type(value) is dict:
            ref = as_blob_ref(value)
            if ref is not None:
                yield ref
            if ref is None or not ref.is_legacy:  # what has the current form may hold more, in keys of its own
                pending.extend(value.values())


def as_blob_ref(value: dict[str, Any]) -> BlobRef | None:
    """The reference that a map is; None if it is none, however much it may look like one."""
    mime_type = value.get("mimeType")
    if type(mime_type) is not str:
        return None
    if value.get("$type") == "blob":
        link, size = value.get("ref"), value.get("size")
        if type(link) is not Cid:
            return None
        is_size = type(size) is int and 0 <= size <= MAX_SIZE_BYTES
        return BlobRef(link, mime_type, size if is_size else None, is_legacy=False)
    text = value.get("cid")
    if type(text) is not str or not mime_type or value.keys() != _LEGACY_KEYS:
        return None
    try:
        return BlobRef(parse_cid(text), mime_type, None, is_legacy=True)
    except CidError:
        return None
