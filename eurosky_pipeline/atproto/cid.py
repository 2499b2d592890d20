"""Content identifiers, in the one shape that the AT Protocol blesses: version 1, SHA-256, codec dag-cbor or raw.

Inside, a CID is its 36 bytes: 0x01, the codec, 0x12 0x20, and the digest. Text is for people and JSON: base32,
lower case, prefixed `b`. Spec: https://atproto.com/specs/data-model#link-and-cid-formats
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from eurosky_pipeline.errors import IntegrityError

CODEC_DAG_CBOR: Final = 0x71
CODEC_RAW: Final = 0x55
CID_BYTES: Final = 36
_TEXT: Final = re.compile(r"b[a-z2-7]{58}")
_PAD_BITS: Final = 58 * 5 - CID_BYTES * 8
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = [first + second for first in _BASE32 for second in _BASE32]
_PAIR_SHIFTS: Final = tuple(range(58 * 5 - 10, -1, -10))
_PYTHON_DIGITS: Final = bytes.maketrans(_BASE32.encode(), b"0123456789abcdefghijklmnopqrstuv")
DAG_CBOR_PREFIX: Final = bytes([1, CODEC_DAG_CBOR, 0x12, 0x20])
RAW_PREFIX: Final = bytes([1, CODEC_RAW, 0x12, 0x20])


class CidError(IntegrityError):
    """Not a CID, or not one of the blessed kind."""

    default_code = "cid"


class Cid(bytes):
    """36 bytes that have been checked to be a CID; equal to, and hashed as, the plain bytes. `str()` gives the text.

    In decoded DAG-CBOR it is also how a link (tag 42) looks. Make one with `Cid.from_bytes`, `parse_cid` or `cid_of`;
    the bare constructor does not check.
    """

    __slots__ = ()

    @classmethod
    def from_bytes(cls, raw: bytes, *, offset: int | None = None) -> Cid:
        """Raises CidError unless `raw` is exactly a blessed CID."""
        if len(raw) != CID_BYTES or raw[:4] not in (DAG_CBOR_PREFIX, RAW_PREFIX):
            raise CidError(f"not a CIDv1 of SHA-256 with codec dag-cbor or raw: {raw[:8].hex()}…", offset=offset)
        return cls(raw)

    @property
    def codec(self) -> int:
        return self[1]

    @property
    def digest(self) -> bytes:
        return self[4:]

    def __str__(self) -> str:
        number = int.from_bytes(self, "big") << _PAD_BITS
        return "b" + "".join([_PAIRS[number >> shift & 1023] for shift in _PAIR_SHIFTS])

    def __repr__(self) -> str:
        return f"Cid({str(self)!r})"


def parse_cid(text: str) -> Cid:
    """A CID from its text form. Raises CidError unless it is blessed and in its one canonical spelling."""
    if not _TEXT.fullmatch(text):
        raise CidError(f"not a CID in base32: {text[:80]!r}")
    number = int(text[1:].encode().translate(_PYTHON_DIGITS), 32)  # as base64 has it, in an eighth of the time
    if number & (1 << _PAD_BITS) - 1:
        raise CidError(f"not the canonical spelling of a CID: {text[:80]!r}")
    return Cid.from_bytes((number >> _PAD_BITS).to_bytes(CID_BYTES, "big"))


def cid_of(data: bytes, codec: int = CODEC_DAG_CBOR) -> Cid:
    """The CID that names these bytes."""
    return Cid(bytes([1, codec, 0x12, 0x20]) + hashlib.sha256(data).digest())
