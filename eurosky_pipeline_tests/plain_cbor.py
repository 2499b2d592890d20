"""DAG-CBOR and tree nodes once more, read byte by byte from their specifications: slow, plain, and sharing no code
with what it is compared with. (Nothing here is meant to be fast, and it recurses.)

Specs: https://ipld.io/specs/codecs/dag-cbor/spec/, RFC 8949 and https://atproto.com/specs/repository#mst-structure
"""

import hashlib
import string
from typing import Any

_DEPTH = 256  # this project's own limit: so many lists, maps and links around each other, the empty ones not counted
_KEY_CHARACTERS = set(string.ascii_letters + string.digits + "._:~-")


class NotCanonical(Exception):
    pass


class Link(bytes):
    """The 36 bytes of a CID."""


def read(data: bytes) -> Any:
    """The one value whose one encoding these bytes are. Raises NotCanonical."""
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise NotCanonical("bytes behind the value")
    return value


def is_canonical(data: bytes) -> bool:
    try:
        read(data)
    except NotCanonical:
        return False
    return True


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument, and where the head ends."""
    if at >= len(data):
        raise NotCanonical("cut")
    major, low = data[at] >> 5, data[at] & 31
    if low < 24:
        return major, low, at + 1
    if low > 27:
        raise NotCanonical("indefinite or reserved")
    width = {24: 1, 25: 2, 26: 4, 27: 8}[low]
    raw = data[at + 1 : at + 1 + width]
    if len(raw) < width:
        raise NotCanonical("cut")
    argument = int.from_bytes(raw, "big")
    if major != 7 and argument < {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}[width]:
        raise NotCanonical("not the shortest")
    return major, argument, at + 1 + width


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise NotCanonical("cut")
    return data[at : at + length], at + length


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise NotCanonical("no UTF-8") from None


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    initial = data[at : at + 1]
    if initial in {b"\xf4", b"\xf5", b"\xf6"}:
        return {b"\xf4": False, b"\xf5": True, b"\xf6": None}[initial], at + 1
    major, argument, at = _head(data, at)
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major == 2:
        return _take(data, at, argument)
    if major == 3:
        raw, at = _take(data, at, argument)
        return _text(raw), at
    if major == 6:
        if argument != 42:
            raise NotCanonical("a foreign tag")
        if depth == _DEPTH:
            raise NotCanonical("too deep")
        return _link(data, at)
    if major == 7:
        raise NotCanonical("a float or a simple value")
    if depth == _DEPTH and argument:
        raise NotCanonical("too deep")
    if major == 4:
        items = []
        for _ in range(argument):
            item, at = _value(data, at, depth + 1)
            items.append(item)
        return items, at
    return _map(data, at, argument, depth)


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    before: tuple[int, bytes] | None = None
    for _ in range(count):
        major, length, at = _head(data, at)
        if major != 3:
            raise NotCanonical("a key that is no text")
        raw, at = _take(data, at, length)
        if before is not None and before >= (len(raw), raw):
            raise NotCanonical("keys out of order")
        before = (len(raw), raw)
        found[_text(raw)], at = _value(data, at, depth + 1)
    return found, at


def _link(data: bytes, at: int) -> tuple[Link, int]:
    major, length, at = _head(data, at)
    raw, at = _take(data, at, length)
    if major != 2 or length != 37 or raw[:1] != b"\0" or raw[1:5] not in {b"\1\x71\x12\x20", b"\1\x55\x12\x20"}:
        raise NotCanonical("no link of the AT Protocol")
    return Link(raw[1:]), at


Entries = list[tuple[bytes, bytes, bytes | None]]
"""Whole key, record, and the subtree behind it."""


def read_node(data: bytes) -> tuple[bytes | None, Entries]:
    """The left subtree and the entries of a tree node. Raises NotCanonical."""
    node = read(data)
    if type(node) is not dict or set(node) != {"e", "l"} or type(node["e"]) is not list:
        raise NotCanonical("no node")
    entries: Entries = []
    previous = b""
    for entry in node["e"]:
        if type(entry) is not dict or set(entry) != {"k", "p", "t", "v"}:
            raise NotCanonical("no entry")
        if type(entry["p"]) is not int or type(entry["k"]) is not bytes or not 0 <= entry["p"] <= len(previous):
            raise NotCanonical("no key")
        key = previous[: entry["p"]] + entry["k"]
        if key <= previous or key[: entry["p"] + 1] == previous[: entry["p"] + 1] or not _is_key(key):
            raise NotCanonical("not the next key, or not written as short as it could be")
        entries.append((key, _node_link(entry["v"]), _node_link_or_none(entry["t"])))
        previous = key
    return _node_link_or_none(node["l"]), entries


def _is_key(key: bytes) -> bool:
    parts = key.decode("latin-1").split("/")
    return len(key) <= 1024 and len(parts) == 2 and all(part and _KEY_CHARACTERS.issuperset(part) for part in parts)


def _node_link(value: Any) -> bytes:
    if type(value) is not Link or value[1] != 0x71:
        raise NotCanonical("no link to DAG-CBOR")
    return bytes(value)


def _node_link_or_none(value: Any) -> bytes | None:
    return None if value is None else _node_link(value)


def height_of(key: bytes) -> int:
    """Leading zero bits of the key's SHA-256, in pairs."""
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(key).digest())
    return (len(bits) - len(bits.lstrip("0"))) // 2
