"""The Merkle search tree: sorted keys, arranged so that their set alone decides every node.

A key's *height* is the number of leading zero bits of its SHA-256, in pairs; it lives in a node of that height:

    height 1          [   c   ]              node = {"l": subtree before the first entry,
                     /         \\                      "e": [{"p": bytes shared with the key before,
    height 0   [ a  b ]      [ d  e ]                        "k": rest of the key,
                                                             "v": the record's CID,
                                                             "t": subtree after this entry}]}

Tricky bits: a node between two heights may hold no entry and only `l`; the root may not, unless the tree is empty.
Heights fall by exactly one from node to child, so a walk is bounded and a cycle cannot exist; and since a node's keys
must lie between the keys around it, no node can be visited twice either. A key here is any `segment/segment` of the
allowed characters; that the segments are a collection and a record key is the repository's rule, not the tree's.
Spec: https://atproto.com/specs/repository#mst-structure
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, Cid, cid_of
from eurosky_pipeline.errors import IntegrityError

MAX_KEY_BYTES = 1024
_KEY = re.compile(rb"[A-Za-z0-9._:~-]+/[A-Za-z0-9._:~-]+")

LoadBlock = Callable[[bytes], bytes]
"""A block's data by its CID; raises MstError (or another IntegrityError) if there is no such block."""


class MstError(IntegrityError):
    """The tree is not the canonical one for its keys, or a part of it is missing.

    Args:
        node: the CID of the node at fault, where it is known: a walk knows it, and only its caller knows the place.
    """

    default_code = "mst"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", offset: int | None = None, node: bytes = b""
    ) -> None:
        super().__init__(message, code=code, hint=hint, offset=offset)
        self.node = node


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
    """Raises MstError or CborError if the block is not a node in canonical form, its keys rising strictly."""
    value = dag_cbor.decode(data)
    if not isinstance(value, dict) or value.keys() != {"e", "l"} or not isinstance(value["e"], list):
        raise MstError("a tree node does not have exactly the fields e and l")
    entries: list[Entry] = []
    previous = b""
    for raw in value["e"]:
        entry = _parse_entry(raw, previous)
        entries.append(entry)
        previous = entry.key
    return Node(_link_or_none(value["l"]), tuple(entries))


def walk(root: bytes, load: LoadBlock) -> Iterator[tuple[bytes, Cid]]:
    """Every (key, record CID) of the tree under `root`, in key order.

    Checks on the way that the tree is the canonical one: heights, strictly rising valid keys, shortest prefixes. Each
    node is checked whole before anything of it is handed out.

    Raises:
        MstError: where it is not, with the `node` at fault; or whatever `load` raises for a missing block.
    """
    node = _load_node(root, load)
    if node.entries:
        height = key_height(node.entries[0].key)
        _check_place(node, root, height, b"", None)
        yield from _walk_node(node, height, b"", None, load)
    elif node.left is not None:
        raise MstError("the tree's root node holds no entry", node=root)


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


def _walk_node(
    node: Node, height: int, lower: bytes, upper: bytes | None, load: LoadBlock
) -> Iterator[tuple[bytes, Cid]]:
    """Walk a checked node; its keys lie between `lower` and `upper`, and so must those of its children."""
    child = node.left
    for entry in node.entries:
        if child is not None:
            yield from _walk_child(child, height - 1, lower, entry.key, load)
        yield entry.key, entry.value
        lower, child = entry.key, entry.right
    if child is not None:
        yield from _walk_child(child, height - 1, lower, upper, load)


def _walk_child(
    cid: Cid, height: int, lower: bytes, upper: bytes | None, load: LoadBlock
) -> Iterator[tuple[bytes, Cid]]:
    if height < 0:
        raise MstError("a node hangs below height 0", node=cid)
    node = _load_node(cid, load)
    if not node.entries and node.left is None:
        raise MstError("a node that is not the root is empty", node=cid)
    _check_place(node, cid, height, lower, upper)
    yield from _walk_node(node, height, lower, upper, load)


def _load_node(cid: bytes, load: LoadBlock) -> Node:
    data = load(cid)
    try:
        return parse_node(data)
    except IntegrityError as error:
        raise MstError(error.message, code=error.code, node=cid) from None


def _check_place(node: Node, cid: bytes, height: int, lower: bytes, upper: bytes | None) -> None:
    """Raises MstError unless every key of the node belongs to this height, and between these two keys."""
    for entry in node.entries:
        if key_height(entry.key) != height:
            raise MstError(f"the key {_shown(entry.key)} stands at height {height}, where it does not belong", node=cid)
    if not node.entries:
        return
    first, last = node.entries[0].key, node.entries[-1].key
    if first <= lower:
        raise MstError(f"keys out of order: {_shown(first)} after {_shown(lower)}", node=cid)
    if upper is not None and last >= upper:
        raise MstError(f"keys out of order: {_shown(upper)} after {_shown(last)}", node=cid)


def _parse_entry(raw: Any, previous: bytes) -> Entry:
    if not isinstance(raw, dict) or raw.keys() != {"k", "p", "t", "v"}:
        raise MstError("a tree entry does not have exactly the fields k, p, t and v")
    shared, rest, value = raw["p"], raw["k"], raw["v"]
    if type(shared) is not int or type(rest) is not bytes or not _is_data_link(value):
        raise MstError("a tree entry has a field of the wrong kind")
    if not 0 <= shared <= len(previous):
        raise MstError("a tree entry shares more with the key before than there is")
    key = previous[:shared] + rest
    if _shared_length(previous, key) != shared:
        raise MstError("a tree entry does not share all that it could with the key before")
    _check_key(key)
    if key <= previous:
        raise MstError(f"keys out of order: {_shown(key)} after {_shown(previous)}")
    return Entry(key, value, _link_or_none(raw["t"]))


def _check_key(key: bytes) -> None:
    if len(key) > MAX_KEY_BYTES or not _KEY.fullmatch(key):
        raise MstError(f"not a key of two segments: {_shown(key)}")


def _link_or_none(value: Any) -> Cid | None:
    if value is not None and not _is_data_link(value):
        raise MstError("a subtree that is neither a link to a node nor null")
    return value


def _is_data_link(value: Any) -> TypeGuard[Cid]:
    """Whether it links to DAG-CBOR, as every node and record is."""
    return isinstance(value, Cid) and value.codec == CODEC_DAG_CBOR


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
