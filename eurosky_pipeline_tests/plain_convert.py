"""The conversion of legacy blob references once more, as simply as it can be said: slow, in memory, and sharing no code
with `eurosky_pipeline.convert`.

Everything is decoded, every value is walked, strong references are made right again and again until nothing moves any
more, and the tree is built anew from its keys. docs of the rules: DESIGN's contract of `car convert`, and
https://atproto.com/specs/data-model#blob-type.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline_tests import plain_cbor

_BASE32 = string.ascii_lowercase + "234567"
_TID = "234567" + string.ascii_lowercase
_LARGEST_SIZE = 2**53 - 1

Records = Mapping[str, dict[str, Any]]
Blocks = Mapping[bytes, bytes]


class SizeUnknown(Exception):
    """The policy is `fail`, and there is a blob whose size nobody knows."""


class NoRev(Exception):
    """There is no revision after the old one."""


@dataclass(frozen=True, slots=True)
class Repo:
    """What a CAR's commit leads to: records and their CIDs by key."""

    did: str
    version: int
    rev: str
    records: dict[str, dict[str, Any]]
    cids: dict[str, Cid]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the conversion has to give. References are counted at each key, also where keys share one block.

    Attributes:
        asked: the blobs whose sizes no current reference in the file tells; sizes_known: how many are told.
        tree: the root of the tree. rev: "" if nothing has changed.
    """

    records: dict[str, dict[str, Any]]
    cids: dict[str, Cid]
    tree: Cid
    rev: str
    refs_found: int
    refs_converted: int
    refs_kept: int
    distinct_blobs: int
    sizes_known: int
    asked: frozenset[Cid]
    records_changed: int
    strong_refs_rewritten: int


def convert(data: bytes, sizes: Mapping[Cid, int], unknown: str) -> Expected:
    """Convert a whole repository's CAR.

    Args:
        sizes: what the source tells of the blobs that it is asked for.
        unknown: `keep`, `sentinel` or `fail`.

    Raises: SizeUnknown, NoRev.
    """
    repo = read(data)
    found = [blob for record in repo.records.values() for blob in _legacy_blobs(record)]
    known = _claimed_sizes(_decoded(read_blocks(data)[1].values()))
    asked = frozenset(found) - known.keys()
    all_sizes = known | {cid: size for cid, size in sizes.items() if cid in asked and 0 < size <= _LARGEST_SIZE}
    unknown_blobs = set(found) - all_sizes.keys()
    if unknown_blobs and unknown == "fail":
        raise SizeUnknown
    if unknown == "sentinel":
        all_sizes |= dict.fromkeys(unknown_blobs, -1)
    converted = {key: _with_current_refs(record, all_sizes) for key, record in repo.records.items()}
    records, rewritten = with_strong_refs(repo, converted)
    cids = cids_of(records)
    kept = sum(blob not in all_sizes for blob in found)
    changed = sum(cids[key] != repo.cids[key] for key in cids)
    return Expected(
        records=records,
        cids=cids,
        tree=tree_of(cids),
        rev=_next_rev(repo) if changed else "",
        refs_found=len(found),
        refs_converted=len(found) - kept,
        refs_kept=kept,
        distinct_blobs=len(set(found)),
        sizes_known=len(set(found) & known.keys()),
        asked=asked,
        records_changed=changed,
        strong_refs_rewritten=rewritten,
    )


def legacy_blobs(data: bytes) -> set[Cid]:
    """The blobs that a repository's legacy references name."""
    return {blob for record in read(data).records.values() for blob in _legacy_blobs(record)}


def read(data: bytes) -> Repo:
    """The repository in a CAR that is known to be whole; nothing is checked."""
    root, blocks = read_blocks(data)
    commit = plain_cbor.read(blocks[root])
    cids = {key: Cid(cid) for key, cid in _leaves(bytes(commit["data"]), blocks)}
    records = {key: dag_cbor.decode(blocks[cid]) for key, cid in cids.items()}
    return Repo(commit["did"], commit["version"], commit.get("rev", ""), records, cids)


def read_blocks(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The root and the blocks of a CAR that is known to be whole."""
    header, *sections = _sections(data)
    (root,) = plain_cbor.read(header)["roots"]
    return bytes(root), {section[:36]: section[36:] for section in sections}


def count_blocks(data: bytes) -> int:
    """How many blocks a CAR holds; one that comes twice counts twice."""
    return sum(1 for _ in _sections(data)) - 1


def read_nodes(data: bytes) -> set[bytes]:
    """The CIDs of the tree's nodes."""
    root, blocks = read_blocks(data)
    pending, found = [bytes(plain_cbor.read(blocks[root])["data"])], set[bytes]()
    while pending:
        found.add(cid := pending.pop())
        left, entries = plain_cbor.read_node(blocks[cid])
        pending += [link for link in (left, *(right for _, _, right in entries)) if link is not None]
    return found


def with_strong_refs(repo: Repo, changed: Records) -> tuple[dict[str, dict[str, Any]], int]:
    """The changed records with the repository's strong references to each other made right, and how many were.

    A reference is `{uri, cid}`, whatever else is in the map. It is rewritten if it names, by its DID, a record of the
    same repository with the CID that this record has had.
    """
    records = {key: dict(record) for key, record in changed.items()}
    while True:
        moved = {
            (f"at://{repo.did}/{key}", str(repo.cids[key])): str(cid)
            for key, cid in cids_of(records).items()
            if cid != repo.cids[key]
        }
        rewritten = 0

        def rewrite(value: dict[str, Any], moved: Mapping[Any, str] = moved) -> dict[str, Any]:
            nonlocal rewritten
            uri, cid = value.get("uri"), value.get("cid")
            if type(uri) is not str or type(cid) is not str or (uri, cid) not in moved:
                return value
            rewritten += 1
            return value | {"cid": moved[uri, cid]}

        again = {key: each_map(record, rewrite) for key, record in changed.items()}
        if again == records:
            return records, rewritten
        records = again


def each_map(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The value with every map in it changed, the inner ones after the outer ones."""
    if isinstance(value, dict):
        return {key: each_map(inner, change) for key, inner in change(value).items()}
    return [each_map(inner, change) for inner in value] if isinstance(value, list) else value


def cids_of(records: Records) -> dict[str, Cid]:
    return {key: cid_of(dag_cbor.encode(record)) for key, record in records.items()}


def tree_of(cids: Mapping[str, Cid]) -> Cid:
    """The root of the tree of these keys."""
    return mst.build(((key.encode(), cid) for key, cid in cids.items()), lambda *_: None)


def legacy_blob(value: Any) -> Cid | None:
    """The blob's CID if this is a legacy reference: a map of just `cid`, a CID as text, and a mime type."""
    if not isinstance(value, dict) or set(value) != {"cid", "mimeType"}:
        return None
    text, mime_type = value["cid"], value["mimeType"]
    if not isinstance(text, str) or not isinstance(mime_type, str) or not mime_type:
        return None
    if len(text) != 59 or text[0] != "b" or not set(text[1:]) <= set(_BASE32):
        return None
    bits = "".join(f"{_BASE32.index(digit):05b}" for digit in text[1:])
    raw = bytes(int(bits[at : at + 8], 2) for at in range(0, 288, 8))
    is_blessed = raw[:4] in {b"\x01\x55\x12\x20", b"\x01\x71\x12\x20"} and bits[288:] == "00"
    return Cid(raw) if is_blessed else None


def _legacy_blobs(value: Any) -> Iterator[Cid]:
    blob = legacy_blob(value)
    if blob is not None:
        yield blob
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _legacy_blobs(inner)


def _with_current_refs(record: dict[str, Any], sizes: Mapping[Cid, int]) -> dict[str, Any]:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        blob = legacy_blob(value)
        if blob is None or blob not in sizes:
            return value
        return {"$type": "blob", "ref": blob, "mimeType": value["mimeType"], "size": sizes[blob]}

    changed = each_map(record, change)
    assert isinstance(changed, dict)
    return changed


def _claimed_sizes(values: Iterable[Any]) -> dict[Cid, int]:
    """What the current references tell, of the blobs on whose sizes they agree; -1 and what is no number tell nothing.

    An orphan's word is as good as a record's: both speak of what the CID names.
    """
    claims: dict[Cid, set[int]] = {}

    def note(value: dict[str, Any]) -> dict[str, Any]:
        ref, size = value.get("ref"), value.get("size")
        if value.get("$type") == "blob" and isinstance(ref, Cid) and type(size) is int and size >= 0:
            claims.setdefault(ref, set()).add(size)
        return value

    for value in values:
        each_map(value, note)
    agreed = {blob: min(sizes) for blob, sizes in claims.items() if len(sizes) == 1}
    return {blob: size for blob, size in agreed.items() if 0 < size <= _LARGEST_SIZE}


def _decoded(blocks: Iterable[bytes]) -> Iterator[Any]:
    for block in blocks:
        with contextlib.suppress(dag_cbor.CborError):
            yield dag_cbor.decode(block)


def _leaves(cid: bytes, blocks: Blocks) -> Iterator[tuple[str, bytes]]:
    left, entries = plain_cbor.read_node(blocks[cid])
    if left is not None:
        yield from _leaves(left, blocks)
    for key, value, right in entries:
        yield key.decode(), value
        if right is not None:
            yield from _leaves(right, blocks)


def _next_rev(repo: Repo) -> str:
    """The TID after the old revision; after the newest record key that is one, where an old commit has no revision."""
    rkeys = [key.partition("/")[2] for key in repo.records]
    newest = repo.rev or max(["2222222222222", *(rkey for rkey in rkeys if is_tid(rkey))])
    number = 1
    for place, digit in enumerate(reversed(newest)):
        number += _TID.index(digit) * 32**place
    if number >= 2**64:
        raise NoRev
    return "".join(_TID[number // 32**place % 32] for place in reversed(range(13)))


def is_tid(text: str) -> bool:
    return len(text) == 13 and set(text) <= set(_TID) and text[0] in "234567abcdefghij"


def _sections(data: bytes) -> Iterator[bytes]:
    """The header, and then the blocks with their CIDs."""
    at = 0
    while at < len(data):
        length, at = _varint(data, at)
        yield data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] >= 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
