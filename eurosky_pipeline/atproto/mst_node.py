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
from collections.abc import Mapping
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
_PLAIN_LINK: Final = re.escape(LINK_HEAD + DAG_CBOR_PREFIX) + rb".{32}"
_PLAIN_LINK_OR_NULL: Final = rb"(?:" + _NULL + rb"|" + _PLAIN_LINK + rb")"
_LINK_OR_NULL: Final = rb"(?:" + _NULL + rb"|" + _LINK + rb")"
_NODE_END: Final = re.compile(_NODE_L + _LINK_OR_NULL, re.DOTALL)
_ENTRIES: Final = re.compile(
    rb"("
    + _ENTRY_START
    + rb"([\x40-\x57]|\x58.|\x59..)([A-Za-z0-9._:~/-]+)"  # no head of a number is one of a key's characters,
    + _ENTRY_P  # so there is one way only to match this, and no way back
    + rb"([\x00-\x17]|\x18.|\x19..)"
    + (_ENTRY_T + _LINK_OR_NULL + _ENTRY_V + _LINK + rb")"),
    re.DOTALL,
)


_FORM: Final = re.compile(
    NODE_START
    + rb"(?:[\x80-\x97]|\x98.|\x99..|\x9a.{4})(?:"
    + (_ENTRY_START + rb"(?:[\x40-\x57]|\x58.|\x59..)[A-Za-z0-9._:~/-]+" + _ENTRY_P)
    + (rb"(?:[\x00-\x17]|\x18.|\x19..)" + _ENTRY_T + _PLAIN_LINK_OR_NULL + _ENTRY_V + _PLAIN_LINK)
    + (rb")*+" + _NODE_L + _PLAIN_LINK_OR_NULL),
    re.DOTALL,
)
_LEFT_SUBTREE: Final = re.compile(_NODE_L + _LINK, re.DOTALL)
_RIGHT_SUBTREES: Final = re.compile(_ENTRY_T + _LINK, re.DOTALL)
_VALUES: Final = re.compile(_ENTRY_V + _LINK, re.DOTALL)
RIGHT_LINK: Final = _ENTRY_T + LINK_HEAD
"""Stands before each link to a subtree but the first, and nowhere else in a node."""
LEAF_END: Final = _NODE_L + _NULL
"""How a node without a first subtree ends."""
_VALUE_START: Final = _ENTRY_V + LINK_HEAD + DAG_CBOR_PREFIX


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


class NodeParts(NamedTuple):
    """A node in columns: what a walk through millions of entries can afford to make of it.

    Attributes:
        left: the subtree before the first key, or None.
        keys: whole, not prefix-compressed, in their order.
        values: the CID of each key's record, 36 bytes.
        rights: the subtree after each key; empty where there is none.
    """

    left: bytes | None
    keys: list[bytes]
    values: list[bytes]
    rights: list[bytes]


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
    left, keys, values, rights = read_node(data)
    entries = [
        Entry(key, Cid(value), Cid(right) if right else None)
        for key, value, right in zip(keys, values, rights, strict=True)
    ]
    return Node(None if left is None else Cid(left), tuple(entries))


def read_node(data: bytes) -> NodeParts:
    """`parse_node`, in columns, and in half the time. Raises as that."""
    try:
        return _read_node(data)
    except (_Unlike, IndexError, KeyError):
        _explain(data)


def find_subtrees(data: bytes) -> list[bytes]:
    """The CIDs of all subtrees in the block of a node, or in several that stand one behind the other; in any order.

    Nothing is checked.
    """
    # an expression that begins with the same bytes each time is found three times as fast as one that does not
    return _LEFT_SUBTREE.findall(data) + _RIGHT_SUBTREES.findall(data)


def find_values(data: bytes) -> list[bytes]:
    """The same for the CIDs of all records, in their order."""
    return _VALUES.findall(data)


def count_values(data: bytes) -> int | None:
    """How many `find_values` finds in the block of one node; None if it has not the form of one."""
    return data.count(_VALUE_START) if _FORM.fullmatch(data) is not None else None


def read_links(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The CIDs of a node's records, and of its subtrees, both in no order: all that it has, in a quarter of the time.

    That the block has the form of a node is checked, and nothing about its keys. Raises MstError or CborError.
    """
    values = find_values(data)
    try:
        if _FORM.fullmatch(data) is not None and _read_count(data)[0] == len(values):
            return values, find_subtrees(data)
    except _Unlike:
        pass
    read_node(data)  # says what is wrong
    raise MstError("a tree node is not in its canonical form")


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


def patch_node(data: bytes, records: Mapping[int, bytes], subtrees: Mapping[bytes, bytes]) -> bytes:
    """A node with other links: its keys stay, and CIDs are all of one length, so all else stays where it is.

    Args:
        data: a node's block, as `read_node` has taken it.
        records: the new CID of a record, by the entry's place among the entries.
        subtrees: the new CID of a subtree, by its old one; others may be among them.
    """
    patched = bytearray(data)
    end = _read_count(data)[1]
    for number, entry in enumerate(_ENTRIES.finditer(data, end)):
        end = entry.end()
        if number in records:
            patched[entry.start(6) : end] = records[number]
        if entry[5] in subtrees:
            patched[entry.start(5) : entry.end(5)] = subtrees[entry[5]]
    left = data[end + len(_NODE_L) + len(LINK_HEAD) :]
    if left in subtrees:
        patched[-len(left) :] = subtrees[left]
    return bytes(patched)


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


def _read_node(data: bytes) -> NodeParts:
    count, start = _read_count(data)
    # all that looks like an entry is found at once; together they must be what stands there, with nothing between
    found = _ENTRIES.findall(data, start)
    together = b"".join([entry[0] for entry in found])
    tail = _NODE_END.fullmatch(data, start + len(together))
    if tail is None or len(found) != count or not data.startswith(together, start):
        raise _Unlike
    keys: list[bytes] = []
    values: list[bytes] = []
    rights: list[bytes] = []
    previous, slash, key_length = b"", -1, 0
    for _, length_head, rest, shared_head, right, value in found:
        shared = _SHARED[shared_head]
        rest_length = len(rest)
        if _LENGTH_HEADS[rest_length] != length_head or shared > key_length:
            raise _Unlike
        # the rest begins where the keys part: it sorts after the key before, and shares no more with it
        if shared < key_length and rest[0] <= previous[shared]:
            raise _Unlike
        previous, key_length = previous[:shared] + rest, shared + rest_length
        if key_length > MAX_KEY_BYTES:
            raise _Unlike
        if 0 <= slash < shared:  # then the slash is shared too, and there is one only
            if b"/" in rest:
                raise _Unlike
        elif _KEY.fullmatch(previous):
            slash = previous.index(b"/")
        else:
            raise _Unlike
        keys.append(previous)
        values.append(value)
        rights.append(right)
    return NodeParts(tail.group(1), keys, values, rights)


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
