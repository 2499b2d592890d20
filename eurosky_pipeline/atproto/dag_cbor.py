"""Strict DAG-CBOR: what decodes is canonical, and what is encoded decodes to the same.

cbor2 does the parsing; what it lets through is refused here: indefinite lengths, duplicate, unsorted and non-string
keys, floats, simple values, bignums, tags other than 42, and any number or length that is not in its shortest form
(found by comparing the re-encoding with the input). Of its many tags none but the link is ever acted upon.
Specs: https://ipld.io/specs/codecs/dag-cbor/spec/ and https://atproto.com/specs/data-model
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import cbor2

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import IntegrityError

LINK_TAG = 42
MAX_DEPTH = 256
_MIN_INT, _MAX_INT = -(2**64), 2**64 - 1


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
        cause = error.__cause__ if isinstance(error.__cause__, IntegrityError) else error
        raise CborError(f"not DAG-CBOR: {str(cause)[:200]}") from None
    _refuse_foreign_types(value)
    if _dump(value) != data:
        raise CborError("not the canonical encoding of its value")
    return value


def encode(value: Any) -> bytes:
    """The canonical encoding. Raises CborError for values that DAG-CBOR, or the AT Protocol, does not have."""
    data = _dump(value)  # before the look at the types, which would never end on a list that holds itself
    _refuse_foreign_types(value)
    return data


def _dump(value: Any) -> bytes:
    try:
        return cbor2.dumps(value, canonical=True, encoders=_ENCODERS)
    except (cbor2.CBOREncodeError, ValueError, TypeError, RecursionError) as error:
        raise CborError(f"cannot be encoded as DAG-CBOR: {str(error)[:200]}") from None


def _link(value: Any, _is_immutable: bool) -> Cid:
    if type(value) is not bytes or value[:1] != b"\x00":
        raise CborError("a link without the leading zero byte")
    return Cid.from_bytes(value[1:])


class _OnlyLinks(dict[int, Callable[[Any, bool], Cid]]):
    """Takes every tag away from cbor2, whose own decoders make cycles (tags 28 and 29), patterns, dates and more."""

    def __missing__(self, tag: int) -> NoReturn:
        raise CborError(f"tag {tag}, where only links (tag {LINK_TAG}) are allowed")


def _encode_link(encoder: cbor2.CBOREncoder, cid: Cid) -> None:
    encoder.encode(cbor2.CBORTag(LINK_TAG, b"\x00" + bytes(cid)))


_TAGS = _OnlyLinks({LINK_TAG: _link})
_ENCODERS: dict[type, Callable[[cbor2.CBOREncoder, Any], Any]] = {Cid: _encode_link}


def _refuse_foreign_types(root: Any) -> None:
    """Whatever cbor2 reads or writes beyond the data model (floats, bignums, dates, sets …) is refused by its type."""
    pending = [root]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind is str or kind is bool or value is None or kind is Cid or kind is bytes:
            continue
        if kind is int:
            if not _MIN_INT <= value <= _MAX_INT:
                raise CborError("an integer beyond 64 bits")
        elif kind is dict:
            for key in value:
                if type(key) is not str:
                    raise CborError("a map key that is not a string")
            pending.extend(value.values())
        elif kind is list:
            pending.extend(value)
        elif kind is float:
            raise CborError("a float, which the AT Protocol does not have")
        else:
            raise CborError(f"a value of a kind that DAG-CBOR does not have: {kind.__name__}")
