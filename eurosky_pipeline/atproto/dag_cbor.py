"""Strict DAG-CBOR: what decodes is canonical, and what is encoded decodes to the same.

cbor2 does the parsing; what it lets through is refused here: indefinite lengths, duplicate, unsorted and non-string
keys, floats, simple values, bignums, tags other than 42, and any number or length that is not in its shortest form.
Of its many tags none but the link is ever acted upon.

That every form is the shortest is found by adding up. An encoding is heads and payloads; the decoded value tells the
payloads and what each head has to say, and no head can say it in fewer bytes than its shortest form. So the data are
as long as the canonical encoding exactly if each head is in its shortest form. (An indefinite length could make up in
its break byte for what it saves, therefore cbor2 refuses those first.) This costs a tenth of encoding again.
Specs: https://ipld.io/specs/codecs/dag-cbor/spec/ and https://atproto.com/specs/data-model
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import cbor2

from eurosky_pipeline.atproto.cid import CID_BYTES, Cid
from eurosky_pipeline.errors import IntegrityError

LINK_TAG: Final = 42
LINK_HEAD: Final = bytes([0xD8, LINK_TAG, 0x58, 1 + CID_BYTES, 0x00])
"""What stands before a link's 36 bytes: the tag, the head of a byte string, and the multibase zero."""
LINK_BYTES: Final = len(LINK_HEAD) + CID_BYTES
MAX_DEPTH: Final = 256
_MAX_KNOWN_MAPS: Final = 1024
_MAX_KNOWN_MAP_BYTES: Final = 512


class CborError(IntegrityError):
    """Not DAG-CBOR, or not canonical."""

    default_code = "dag_cbor"


def decode(data: bytes) -> Any:
    """One value from exactly these bytes: None, bool, int, str, bytes, list, dict with str keys, or `Cid` for a link.

    Raises:
        CborError: malformed, too deep, trailing bytes, or not the canonical encoding of its value.
    """
    try:
        value = cbor2.loads(
            data,
            semantic_decoders=_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        _let_interruptions_through(error)
        cause = error.__cause__ if isinstance(error.__cause__, IntegrityError) else error
        raise CborError(f"not DAG-CBOR: {str(cause)[:200]}") from None
    if _canonical_length(value, are_keys_sorted=True) != len(data):
        raise CborError("not the canonical encoding of its value: a number or a length is not in its shortest form")
    return value


def encode(value: Any) -> bytes:
    """The canonical encoding. Raises CborError for values that DAG-CBOR, or the AT Protocol, does not have."""
    try:
        _check_depth(value)  # first: a list that holds itself would keep the others busy for ever
        return cbor2.dumps(value, canonical=not _is_sorted(value), encoders=_ENCODERS)  # to sort takes half the time
    except (cbor2.CBOREncodeError, ValueError, TypeError, RecursionError) as error:
        _let_interruptions_through(error)
        raise CborError(f"cannot be encoded as DAG-CBOR: {str(error)[:200]}") from None


def _let_interruptions_through(error: BaseException) -> None:
    """cbor2 takes whatever is raised while a link is made for a fault of the data, Ctrl-C too."""
    for cause in (error.__cause__, error.__context__):
        if cause is not None and not isinstance(cause, Exception):
            raise cause


def _is_sorted(value: Any) -> bool:
    """Whether all maps hold their keys in canonical order already. Raises CborError for what is no value at all."""
    try:
        _canonical_length(value, are_keys_sorted=True)
    except CborError:
        _canonical_length(value, are_keys_sorted=False)
        return False
    return True


def head(major: int, argument: int) -> bytes:
    """The shortest head of a major type (0 to 7) with its argument, 0 <= argument < 2**64. Spec: RFC 8949, 3."""
    width = _head_length(argument) - 1
    if width == 0:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | 23 + width.bit_length()]) + argument.to_bytes(width, "big")


def _head_length(argument: int) -> int:
    if argument < 24:
        return 1
    if argument < 2**8:
        return 2
    if argument < 2**16:
        return 3
    if argument < 2**32:
        return 5
    if argument < 2**64:
        return 9
    raise CborError("an integer beyond 64 bits")


def _canonical_length(root: Any, *, are_keys_sorted: bool) -> int:
    """Bytes of the canonical encoding. Raises CborError for a value that the data model does not have.

    Args:
        are_keys_sorted: whether maps must already hold their keys in canonical order.
    """
    size_bytes, known_maps = 0, _KNOWN_MAPS
    pending = [root]
    for value in pending:  # which grows meanwhile: hostile nesting is no recursion here
        kind = type(value)
        if kind is str:
            length = len(value) if value.isascii() else len(value.encode())
            size_bytes += length + (1 if length < 24 else 2 if length < 256 else _head_length(length))
        elif kind is dict:
            keys = tuple(value)
            size_bytes += known_maps.get(keys) or _map_length(keys, are_keys_sorted=are_keys_sorted)
            pending += value.values()
        elif kind is Cid:
            size_bytes += LINK_BYTES
        elif kind is int:
            size_bytes += _head_length(value if value >= 0 else -1 - value)
        elif kind is list:
            size_bytes += _head_length(len(value))
            pending += value
        elif value is None or kind is bool:
            size_bytes += 1
        elif kind is bytes:
            size_bytes += len(value) + _head_length(len(value))
        elif kind is float:
            raise CborError("a float, which the AT Protocol does not have")
        else:
            raise CborError(f"a value of a kind that DAG-CBOR does not have: {kind.__name__}")
    return size_bytes


def _check_depth(root: Any) -> None:
    """Raises CborError for what `decode` would find too deep: cbor2 writes it, and crashes if it is deeper still."""
    level = [root]
    for depth in range(MAX_DEPTH + 1):
        if depth == MAX_DEPTH and any(type(part) is Cid for part in level):  # a link is a level of its own
            break
        containers = {id(part): part for part in level if type(part) is list or type(part) is dict}
        level = [child for part in containers.values() for child in (part.values() if type(part) is dict else part)]
        if not level:
            return
    raise CborError(f"a value of more than {MAX_DEPTH} lists and maps in each other")


def _map_length(keys: tuple[Any, ...], *, are_keys_sorted: bool) -> int:
    """Bytes of a map's head and keys. Most maps look like one that was seen before; small ones are remembered."""
    size_bytes = _head_length(len(keys))
    is_sorted = True
    before = (-1, b"")
    for key in keys:
        if type(key) is not str:
            raise CborError("a map key that is not a string")
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise CborError("a map key that is not Unicode") from None
        size_bytes += _head_length(len(raw)) + len(raw)
        is_sorted &= before < (len(raw), raw)
        before = (len(raw), raw)
    if are_keys_sorted and not is_sorted:
        raise CborError("not the canonical encoding of its value: map keys out of order")
    if is_sorted and size_bytes <= _MAX_KNOWN_MAP_BYTES and len(_KNOWN_MAPS) < _MAX_KNOWN_MAPS:
        _KNOWN_MAPS[keys] = size_bytes
    return size_bytes


def _link(value: Any, _is_immutable: bool) -> Cid:
    if type(value) is not bytes or value[:1] != b"\x00":
        raise CborError("a link without the leading zero byte")
    return Cid.from_bytes(value[1:])


class _OnlyLinks(dict[int, Callable[[Any, bool], Cid]]):
    """Takes every tag away from cbor2, whose own decoders make cycles (tags 28 and 29), patterns, dates and more."""

    def __missing__(self, tag: int) -> NoReturn:
        raise CborError(f"tag {tag}, where only links (tag {LINK_TAG}) are allowed")


def _encode_link(encoder: cbor2.CBOREncoder, cid: Cid) -> None:
    encoder.write(LINK_HEAD + cid)


_TAGS = _OnlyLinks({LINK_TAG: _link})
_ENCODERS: dict[type, Callable[[cbor2.CBOREncoder, Any], Any]] = {Cid: _encode_link}
_KNOWN_MAPS: dict[tuple[str, ...], int] = {}
"""Bytes of the head and keys of maps whose keys are in canonical order, by their keys. Bounded in number and size."""
