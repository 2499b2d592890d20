"""The plain way to convert a repository: decode all of it, change the records, build the tree anew, write everything.

`python -m benchmarks.rebuild IN OUT SIZES` does what `eurosky car convert IN OUT --blob-sizes SIZES --json` does, and
prints the same. It is what that command's speed is compared with, and a second opinion on its result: of that command
and its modules nothing is used here, only the protocol core. Nothing is bounded and little is checked.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.car import CarReader, write_car
from eurosky_pipeline.atproto.cid import Cid, CidError, cid_of, parse_cid
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, encode_commit, parse_commit
from eurosky_pipeline.atproto.syntax import next_tid

_LEGACY_KEYS = {"cid", "mimeType"}


@dataclass(slots=True)
class Counts:
    """What `car convert` prints, too."""

    records: int = 0
    records_changed: int = 0
    refs_converted: int = 0
    refs_kept: int = 0
    strong_refs_rewritten: int = 0


class Rebuild:
    """A repository in memory, each record decoded, and what becomes of it."""

    def __init__(self, source: Path, sizes: Mapping[Cid, int]) -> None:
        with source.open("rb") as stream:
            reader = CarReader(stream)
            blocks = {cid: data for cid, data, _ in reader}
            self.root = reader.roots[0]
        self.commit = parse_commit(blocks[self.root])
        entries = list(mst.walk(self.commit.data, blocks.__getitem__))
        self.counts = Counts(records=len(entries))
        self._old_cids = {f"at://{self.commit.did}/{key.decode()}": cid for key, cid in entries}
        self._new_cids: dict[str, Cid] = {}
        self._new_blocks: dict[bytes, bytes] = {}
        self._values = {uri: dag_cbor.decode(blocks[cid]) for uri, cid in self._old_cids.items()}
        own = (ref for value in self._values.values() for ref in find_blob_refs(value) if not ref.is_legacy)
        self._sizes = {**sizes, **{ref.blob_cid: ref.size_bytes for ref in own if ref.size_bytes}}

    def write(self, target: Path) -> Cid:
        """Convert, and write the new file. Returns: its root."""
        entries = [(uri.split("/", 3)[3].encode(), self._settled(uri)) for uri in self._old_cids]
        blocks = self._new_blocks
        tree = mst.build(entries, blocks.__setitem__)
        if tree == self.commit.data:
            target.write_bytes(b"")
            return self.root
        commit = encode_commit(
            replace(self.commit, version=3, data=tree, rev=next_tid(self.commit.rev), prev=None, sig=VOID_SIGNATURE)
        )
        with target.open("wb") as stream:
            write_car(stream, cid_of(commit), [(cid_of(commit), commit), *blocks.items()])
        return cid_of(commit)

    def _settled(self, uri: str) -> Cid:
        """The record's CID at the end; those that it refers to are settled before it."""
        if uri not in self._new_cids:
            data = dag_cbor.encode(self._converted(self._values[uri]))
            cid = cid_of(data)
            self._new_blocks[cid] = data
            self.counts.records_changed += cid != self._old_cids[uri]
            self._new_cids[uri] = cid
        return self._new_cids[uri]

    def _converted(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._converted(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == _LEGACY_KEYS and _is_legacy(value):
            return self._current_form(value)
        value = {key: self._converted(item) for key, item in value.items()}
        uri, text = value.get("uri"), value.get("cid")
        if isinstance(uri, str) and isinstance(text, str) and uri in self._old_cids:
            old = self._old_cids[uri]
            if text == str(old) and (new := self._settled(uri)) != old:
                value["cid"] = str(new)
                self.counts.strong_refs_rewritten += 1
        return value

    def _current_form(self, value: dict[str, Any]) -> dict[str, Any]:
        blob_cid = parse_cid(value["cid"])
        if blob_cid not in self._sizes:
            self.counts.refs_kept += 1
            return value
        self.counts.refs_converted += 1
        return {"$type": "blob", "ref": blob_cid, "mimeType": value["mimeType"], "size": self._sizes[blob_cid]}


def main(source: str, target: str, sizes: str) -> None:
    known = {parse_cid(text): size_bytes for text, size_bytes in json.loads(Path(sizes).read_bytes()).items()}
    rebuild = Rebuild(Path(source), known)
    root = rebuild.write(Path(target))
    counts = rebuild.counts
    result = {name: getattr(counts, name) for name in counts.__slots__}
    print(json.dumps({**result, "root": str(root), "signature": "kept" if root == rebuild.root else "void"}))


def _is_legacy(value: dict[str, Any]) -> bool:
    if not isinstance(value["cid"], str) or not isinstance(value["mimeType"], str) or not value["mimeType"]:
        return False
    try:
        parse_cid(value["cid"])
    except CidError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
