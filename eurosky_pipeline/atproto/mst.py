"""The Merkle search tree: sorted keys, arranged so that their set alone decides every node.

A key's *height* is the number of leading zero bits of its SHA-256, in pairs; it lives in a node of that height:

    height 1          [   c   ]              node = {"l": subtree before the first entry,
                     /         \\                      "e": [{"p": bytes shared with the key before,
    height 0   [ a  b ]      [ d  e ]                        "k": rest of the key,
                                                             "v": the record's CID,
                                                             "t": subtree after this entry}]}

Tricky bits: a node between two heights may hold no entry and only `l`; the root may not, unless the tree is empty.
Heights fall by exactly one from node to child, so a walk is bounded and a cycle cannot exist; and since keys must rise
strictly, no node can be visited twice either.
Spec: https://atproto.com/specs/repository#mst-structure
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.syntax import is_repo_path
from eurosky_pipeline.errors import IntegrityError

MAX_KEY_BYTES = 1024

LoadBlock = Callable[[bytes], bytes]
"""A block's data by its CID; raises MstError (or another IntegrityError) if there is no such block."""


class MstError(IntegrityError):
    """The tree is not the canonical one for its keys, or a part of it is missing."""

    default_code = "mst"


@dataclass(frozen=True, slots=True)
class Entry:
    """A leaf with its whole key, and the subtree that follows it."""

    key: bytes
    value: Cid
    right: Cid | None


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it is worked with: keys whole, not prefix-compressed."""

    left: Cid | None
    entries: tuple[Entry, ...]


def key_height(key: bytes) -> int:
    """The height at which a key lives, 0 to 128."""
    digest = int.from_bytes(hashlib.sha256(key).digest(), "big")
    return (256 - digest.bit_length()) // 2


def parse_node(data: bytes) -> Node:
    """Raises MstError or CborError if the block is not a node in canonical form."""
    value = dag_cbor.decode(data)
    if not isinstance(value, dict) or value.keys() != {"e", "l"} or not isinstance(value["e"], list):
        raise MstError("a tree node does not have exactly the fields e and l")
    entries: list[Entry] = []
    previous = b""
    for raw in value["e"]:
        entry = _parse_entry(raw, previous, is_first=not entries)
        entries.append(entry)
        previous = entry.key
    return Node(_link_or_none(value["l"]), tuple(entries))


def walk(root: bytes, load: LoadBlock) -> Iterator[tuple[bytes, Cid]]:
    """Every (key, record CID) of the tree under `root`, in key order.

    Checks on the way that the tree is the canonical one: heights, strictly rising valid keys, shortest prefixes.

    Raises:
        MstError, CborError: where it is not; or whatever `load` raises for a missing block.
    """
    node = parse_node(load(root))
    if not node.entries:
        if node.left is not None:
            raise MstError("the tree's root node holds no entry")
        return
    previous = b""
    for key, value in _walk_node(node, key_height(node.entries[0].key), load):
        if key <= previous:
            raise MstError(f"keys out of order: {_shown(key)} after {_shown(previous)}")
        previous = key
        yield key, value


def build(entries: Iterable[tuple[bytes, Cid]], put: Callable[[Cid, bytes], None]) -> Cid:
    """Build the tree for (key, record CID) pairs in any order; every node goes to `put(cid, data)`, children first.

    Returns: the root node's CID.
    Raises: MstError for a key that is not valid or comes twice.
    """
    rows = sorted((key, value, key_height(key)) for key, value in entries)
    for index, (key, _, _) in enumerate(rows):
        _check_key(key)
        if index and rows[index - 1][0] == key:
            raise MstError(f"the key {_shown(key)} comes twice")
    return _build_node(rows, max((height for *_, height in rows), default=0), put)


def encode_node(node: Node) -> bytes:
    """The node's canonical block, keys prefix-compressed."""
    previous = b""
    rows = []
    for entry in node.entries:
        shared = _shared_length(previous, entry.key)
        rows.append({"p": shared, "k": entry.key[shared:], "v": entry.value, "t": entry.right})
        previous = entry.key
    return dag_cbor.encode({"l": node.left, "e": rows})


def _walk_node(node: Node, height: int, load: LoadBlock) -> Iterator[tuple[bytes, Cid]]:
    if node.left is not None:
        yield from _walk_child(node.left, height - 1, load)
    for entry in node.entries:
        if key_height(entry.key) != height:
            raise MstError(f"the key {_shown(entry.key)} stands at height {height}, where it does not belong")
        yield entry.key, entry.value
        if entry.right is not None:
            yield from _walk_child(entry.right, height - 1, load)


def _walk_child(cid: Cid, height: int, load: LoadBlock) -> Iterator[tuple[bytes, Cid]]:
    if height < 0:
        raise MstError("a node hangs below height 0")
    node = parse_node(load(cid))
    if not node.entries and node.left is None:
        raise MstError("a node that is not the root is empty")
    yield from _walk_node(node, height, load)


def _parse_entry(raw: Any, previous: bytes, *, is_first: bool) -> Entry:
    if not isinstance(raw, dict) or raw.keys() != {"k", "p", "t", "v"}:
        raise MstError("a tree entry does not have exactly the fields k, p, t and v")
    shared, rest, value = raw["p"], raw["k"], raw["v"]
    if type(shared) is not int or type(rest) is not bytes or not isinstance(value, Cid):
        raise MstError("a tree entry has a field of the wrong kind")
    if not 0 <= shared <= len(previous) or (is_first and shared):
        raise MstError("a tree entry shares more with the key before than there is")
    key = previous[:shared] + rest
    if _shared_length(previous, key) != shared:
        raise MstError("a tree entry does not share all that it could with the key before")
    _check_key(key)
    return Entry(key, value, _link_or_none(raw["t"]))


def _check_key(key: bytes) -> None:
    if len(key) > MAX_KEY_BYTES or not key.isascii() or not is_repo_path(key.decode("ascii")):
        raise MstError(f"not a collection and record key: {_shown(key)}")


def _link_or_none(value: Any) -> Cid | None:
    if value is not None and not isinstance(value, Cid):
        raise MstError("a subtree that is neither a link nor null")
    return value


def _build_node(rows: list[tuple[bytes, Cid, int]], height: int, put: Callable[[Cid, bytes], None]) -> Cid:
    """The node of `height` over these sorted rows, none of which lives higher."""

    def subtree(start: int, end: int) -> Cid | None:
        return _build_node(rows[start:end], height - 1, put) if end > start else None

    here = [index for index, (*_, own) in enumerate(rows) if own == height]
    ends = [*here[1:], len(rows)][: len(here)]
    node = Node(
        left=subtree(0, here[0] if here else len(rows)),
        entries=tuple(
            Entry(rows[index][0], rows[index][1], subtree(index + 1, end))
            for index, end in zip(here, ends, strict=True)
        ),
    )
    data = encode_node(node)
    cid = cid_of(data)
    put(cid, data)
    return cid


def _shared_length(left: bytes, right: bytes) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def _shown(key: bytes) -> str:
    return repr(key[:120].decode("utf-8", "backslashreplace"))
