"""One node of the Merkle search tree: its block, and the height at which a key lives.

    node    {"e": [entry, …], "l": link to the subtree before the first entry, or null}
    entry   {"k": rest of the key,  "p": bytes shared with the key before,
             "t": link to the subtree after this entry, or null,  "v": link to the record}

A node has exactly one encoding, so its block is compared with that form while it is read, byte for byte, and nothing
else is a node: this is as strict as `dag_cbor.decode`, and several times as fast.
Spec: https://atproto.com/specs/repository#mst-structure
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, NamedTuple, NoReturn

from eurosky_pipeline.atproto import dag_cbor
from eurosky_pipeline.atproto.cid import CODEC_DAG_CBOR, DAG_CBOR_PREFIX, Cid
from eurosky_pipeline.atproto.dag_cbor import LINK_HEAD
from eurosky_pipeline.errors import IntegrityError

MAX_KEY_BYTES: Final = 1024
NODE_START: Final = b"\xa2ae"
"""How every node's block begins, and hardly a record's."""
_KEY = re.compile(rb"[A-Za-z0-9._:~-]+/[A-Za-z0-9._:~-]+")
ZERO_PAIRS: Final = bytes((8 - byte.bit_length()) // 2 for byte in range(256))
"""How many pairs of zero bits lead a byte."""
_ARRAY, _BYTES, _UNSIGNED = 4, 2, 0  # major types of CBOR
_ARRAY_INITIAL: Final = _ARRAY << 5

_NULL: Final = b"\xf6"
_NODE_L: Final = b"al"
_ENTRY_START, _ENTRY_P, _ENTRY_T, _ENTRY_V = b"\xa4ak", b"ap", b"at", b"av"
_LENGTH_HEADS: Final = [dag_cbor.head(_BYTES, length) for length in range(MAX_KEY_BYTES + 1)]
_SHARED: Final = {dag_cbor.head(_UNSIGNED, shared): shared for shared in range(MAX_KEY_BYTES + 1)}

_LINK: Final = re.escape(LINK_HEAD) + rb"(" + re.escape(DAG_CBOR_PREFIX) + rb".{32})"
_LINK_OR_NULL: Final = rb"(?:" + _NULL + rb"|" + _LINK + rb")"
_NODE_END: Final = re.compile(_NODE_L + _LINK_OR_NULL, re.DOTALL)
_ENTRY: Final = re.compile(
    _ENTRY_START
    + rb"([\x40-\x57]|\x58.|\x59..)([A-Za-z0-9._:~/-]+)"  # no head of a number is one of a key's characters,
    + _ENTRY_P  # so there is one way only to match this, and no way back
    + rb"([\x00-\x17]|\x18.|\x19..)"
    + (_ENTRY_T + _LINK_OR_NULL + _ENTRY_V + _LINK),
    re.DOTALL,
)


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


class Entry(NamedTuple):
    """A leaf with its whole key, and the subtree that follows it."""

    key: bytes
    value: Cid
    right: Cid | None


class Node(NamedTuple):
    """A node as it is worked with: keys whole, not prefix-compressed."""

    left: Cid | None
    entries: tuple[Entry, ...]


class _Unlike(Exception):
    """The bytes are not those of a node."""


def key_height(key: bytes) -> int:
    """The height at which a key lives, 0 to 128: leading zero bits of its SHA-256, in pairs."""
    digest = hashlib.sha256(key).digest()
    if digest[0]:
        return ZERO_PAIRS[digest[0]]
    return (256 - int.from_bytes(digest, "big").bit_length()) // 2


def check_key(key: bytes) -> None:
    """Raises MstError unless it is `segment/segment` of the allowed characters, of at most 1024 bytes."""
    if len(key) > MAX_KEY_BYTES or not _KEY.fullmatch(key):
        raise MstError(f"not a key of two segments: {shown(key)}")


def parse_node(data: bytes) -> Node:
    """Raises MstError or CborError if the block is not a node in canonical form, its keys rising strictly."""
    try:
        return _read_node(data)
    except (_Unlike, IndexError, KeyError):
        _explain(data)


def encode_node(node: Node) -> bytes:
    """The node's canonical block, keys prefix-compressed. The entries are taken as they are."""
    parts = [NODE_START, dag_cbor.head(_ARRAY, len(node.entries))]
    previous = b""
    for key, value, right in node.entries:
        shared = shared_length(previous, key)
        rest = key[shared:]
        parts += (_ENTRY_START, dag_cbor.head(_BYTES, len(rest)), rest, _ENTRY_P)
        parts += (dag_cbor.head(_UNSIGNED, shared), _ENTRY_T)
        parts += (_NULL if right is None else LINK_HEAD + right, _ENTRY_V, LINK_HEAD + value)
        previous = key
    parts += (_NODE_L, _NULL if node.left is None else LINK_HEAD + node.left)
    return b"".join(parts)


def shared_length(left: bytes, right: bytes) -> int:
    """How many bytes two keys have in common at their beginning."""
    shared, differing = 0, min(len(left), len(right))
    if left[:differing] == right[:differing]:
        return differing
    while differing - shared > 1:  # the first `shared` bytes are the same, the first `differing` are not
        middle = (shared + differing) // 2
        if left[shared:middle] == right[shared:middle]:
            shared = middle
        else:
            differing = middle
    return shared


def shown(key: bytes) -> str:
    """A key for a message, whatever bytes it is made of."""
    return repr(key[:120].decode("utf-8", "backslashreplace"))


def _read_node(data: bytes) -> Node:
    count, position = _read_count(data)
    entries: list[Entry] = []
    previous, slash = b"", -1
    for _ in range(count):
        found = _ENTRY.match(data, position)
        if found is None:
            raise _Unlike
        length_head, rest, shared_head, right, value = found.groups()
        position, shared = found.end(), _SHARED[shared_head]
        if _LENGTH_HEADS[len(rest)] != length_head or shared > len(previous):
            raise _Unlike
        # the rest begins where the keys part: it sorts after the key before, and shares no more with it
        if shared < len(previous) and rest[0] <= previous[shared]:
            raise _Unlike
        is_collection_shared = 0 <= slash < shared
        previous = previous[:shared] + rest
        if is_collection_shared:  # then the slash is too, and there is one only
            if b"/" in rest or len(previous) > MAX_KEY_BYTES:
                raise _Unlike
        else:
            if len(previous) > MAX_KEY_BYTES or not _KEY.fullmatch(previous):
                raise _Unlike
            slash = previous.index(b"/")
        entries.append(Entry(previous, Cid(value), None if right is None else Cid(right)))
    end = _NODE_END.fullmatch(data, position)
    if end is None:
        raise _Unlike
    left = end.group(1)
    return Node(None if left is None else Cid(left), tuple(entries))


def _read_count(data: bytes) -> tuple[int, int]:
    """How many entries the node says that it has, and where they begin."""
    if data[:3] != NODE_START:
        raise _Unlike
    initial = data[3] - _ARRAY_INITIAL
    if 0 <= initial < 24:
        return initial, 4
    end = 4 + (1 << initial - 24 if 24 <= initial <= 27 else 0)
    count = int.from_bytes(data[4:end], "big")
    if data[3:end] != dag_cbor.head(_ARRAY, count):
        raise _Unlike
    return count, end


def _explain(data: bytes) -> NoReturn:
    """Raise what is wrong with a block that is no node. It need not be quick."""
    value = dag_cbor.decode(data)
    if not isinstance(value, dict) or value.keys() != {"e", "l"} or not isinstance(value["e"], list):
        raise MstError("a tree node does not have exactly the fields e and l")
    previous = b""
    for entry in value["e"]:
        previous = _explain_entry(entry, previous)
    _explain_subtree(value["l"])
    raise MstError("a tree node is not in its canonical form")


def _explain_entry(entry: Any, previous: bytes) -> bytes:
    if not isinstance(entry, dict) or entry.keys() != {"k", "p", "t", "v"}:
        raise MstError("a tree entry does not have exactly the fields k, p, t and v")
    shared, rest = entry["p"], entry["k"]
    if type(shared) is not int or type(rest) is not bytes or not _is_node_link(entry["v"]):
        raise MstError("a tree entry has a field of the wrong kind")
    if not 0 <= shared <= len(previous):
        raise MstError("a tree entry shares more with the key before than there is")
    key = previous[:shared] + rest
    if shared < len(previous) and rest[:1] == previous[shared : shared + 1]:
        raise MstError("a tree entry does not share all that it could with the key before")
    check_key(key)
    if key <= previous:
        raise MstError(f"keys out of order: {shown(key)} after {shown(previous)}")
    _explain_subtree(entry["t"])
    return key


def _explain_subtree(value: Any) -> None:
    if value is not None and not _is_node_link(value):
        raise MstError("a subtree that is neither a link to a node nor null")


def _is_node_link(value: Any) -> bool:
    """Whether it links to DAG-CBOR, as every node and record is."""
    return isinstance(value, Cid) and value.codec == CODEC_DAG_CBOR
