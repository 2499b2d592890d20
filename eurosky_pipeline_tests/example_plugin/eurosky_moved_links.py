"""Links in posts that lead to a site's old address lead to its new one; what the text shows stays as it is."""

from collections.abc import Mapping
from typing import Any

from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.record_transforms import RecordTransform

OLD = "https://blog.example.net/"
NEW = "https://www.example.org/blog/"
LINK = "app.bsky.richtext.facet#link"


class MovedLinks(RecordTransform):
    name = "moved_links"
    version = "1"

    def __init__(self) -> None:
        self._links_moved = 0

    def scan(self, block: bytes) -> bool:
        return OLD.encode() in block  # text stands in DAG-CBOR as it is: most records need not be decoded

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        facets = record.get("facets")
        for facet in facets if isinstance(facets, list) else []:
            features = facet.get("features") if isinstance(facet, dict) else None
            for feature in features if isinstance(features, list) else []:
                if isinstance(feature, dict) and feature.get("$type") == LINK:
                    self._move(feature)
        return record

    def counts(self) -> Mapping[str, int]:
        return {"links_moved": self._links_moved}

    def _move(self, feature: dict[str, Any]) -> None:
        address = feature.get("uri")
        if isinstance(address, str) and address.startswith(OLD):
            feature["uri"] = NEW + address.removeprefix(OLD)
            self._links_moved += 1


@hookimpl
def eurosky_record_transforms() -> list[type[RecordTransform]]:
    return [MovedLinks]
