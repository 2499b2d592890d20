"""Whether a record at the destination is the source's, converted, and nothing else.

It knows the rules and not the converter: two values are walked side by side, and where they differ the difference must
be a legacy blob reference in its current form, or a strong reference that follows a record of the same repository.
Spec: https://atproto.com/specs/data-model#blob-type
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eurosky_pipeline.atproto.cid import Cid, CidError, parse_cid


@dataclass(frozen=True, slots=True)
class ClaimedSize:
    """What a converted reference says of its blob; the legacy form said nothing, so it has to be compared."""

    key: str
    blob_cid: Cid
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BothRepos:
    """The two repositories of an account, as far as strong references have to know them: record CIDs by key."""

    did: str
    source: Mapping[str, Cid]
    destination: Mapping[str, Cid]

    def claims(self, key: str, original: Any, copy: Any) -> list[ClaimedSize] | None:
        """The sizes that the conversion of `original` has put into `copy`; None if that is no conversion of it.

        Args:
            key: of the record, `collection/rkey`.
            original, copy: the record's decoded values.
        """
        found: list[ClaimedSize] = []
        return found if self._is_same(key, original, copy, found) else None

    def _is_same(self, key: str, original: Any, copy: Any, found: list[ClaimedSize]) -> bool:
        if type(original) is not type(copy):  # True is no 1 here, and a link is no byte string
            return False
        if type(original) is list:
            return len(original) == len(copy) and all(
                self._is_same(key, one, other, found) for one, other in zip(original, copy, strict=True)
            )
        if type(original) is not dict:
            return bool(original == copy)
        if (blob_cid := _legacy_blob(original)) is not None and original.keys() != copy.keys():
            size = copy.get("size")
            typed = {"$type": "blob", "ref": blob_cid, "mimeType": original["mimeType"], "size": size}
            found.append(ClaimedSize(key, blob_cid, size if type(size) is int else 0))
            return type(size) is int and type(copy.get("ref")) is Cid and copy == typed
        expected = self._following(original)
        return expected.keys() == copy.keys() and all(
            self._is_same(key, value, copy[name], found) for name, value in expected.items()
        )

    def _following(self, value: dict[str, Any]) -> dict[str, Any]:
        """A map as it has to be at the destination: the same, but for a strong reference whose record has changed."""
        uri, cid, own = value.get("uri"), value.get("cid"), f"at://{self.did}/"
        if type(uri) is not str or type(cid) is not str or not uri.startswith(own):
            return value
        before, after = (side.get(uri.removeprefix(own)) for side in (self.source, self.destination))
        return value | {"cid": str(after)} if before and after and cid == str(before) else value


def _legacy_blob(value: dict[str, Any]) -> Cid | None:
    cid, mime_type = value.get("cid"), value.get("mimeType")
    if value.keys() != {"cid", "mimeType"} or type(cid) is not str or type(mime_type) is not str or not mime_type:
        return None
    try:
        return parse_cid(cid)
    except CidError:
        return None
