"""Identifiers as text: DIDs, handles, NSIDs, record keys and TIDs.

Specs: https://atproto.com/specs/did and its neighbours.
"""

from __future__ import annotations

import re
from typing import Final

_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]", re.ASCII)
_PLC = re.compile(r"did:plc:[a-z2-7]{24}", re.ASCII)
_HANDLE = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII
)
_NSID = re.compile(
    r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
    r"\.[A-Za-z][A-Za-z0-9]{0,62}",
    re.ASCII,
)
_RECORD_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}", re.ASCII)
_TID = re.compile(r"[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}", re.ASCII)
_TID_ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"
MAX_DID_LENGTH: Final = 2048
MAX_HANDLE_LENGTH: Final = 253
MAX_NSID_LENGTH: Final = 317


def is_did(text: str) -> bool:
    """A DID of any method; a `did:plc` must have its 24 base32 characters."""
    if len(text) > MAX_DID_LENGTH or not _DID.fullmatch(text):
        return False
    return not text.startswith("did:plc:") or _PLC.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """A domain name of at least two labels."""
    return len(text) <= MAX_HANDLE_LENGTH and _HANDLE.fullmatch(text) is not None


def is_nsid(text: str) -> bool:
    """A namespaced identifier, such as a collection's name."""
    return len(text) <= MAX_NSID_LENGTH and _NSID.fullmatch(text) is not None


def is_record_key(text: str) -> bool:
    return _RECORD_KEY.fullmatch(text) is not None and text not in {".", ".."}


def is_tid(text: str) -> bool:
    """A timestamp identifier: 13 characters of base32-sortable."""
    return _TID.fullmatch(text) is not None


def is_repo_path(text: str) -> bool:
    """`collection/rkey`, as the keys of a repository's tree are."""
    collection, slash, rkey = text.partition("/")
    return bool(slash) and is_nsid(collection) and is_record_key(rkey)


def tid_of(microseconds: int, clock_id: int = 0) -> str:
    """The TID of a moment: 53 bits of Unix time in microseconds, then 10 bits of clock identifier."""
    if not 0 <= microseconds < 2**53 or not 0 <= clock_id < 2**10:
        raise ValueError("a TID holds 53 bits of microseconds and 10 of clock id")
    return _encode_tid(microseconds << 10 | clock_id)


def next_tid(tid: str) -> str:
    """The TID that sorts right after this one. Raises ValueError if it is none, or the last."""
    if not is_tid(tid):
        raise ValueError(f"not a TID: {tid!r}")
    number = 0
    for character in tid:
        number = number << 5 | _TID_ALPHABET.index(character)
    if number + 1 >= 2**64:
        raise ValueError("there is no later TID")
    return _encode_tid(number + 1)


def _encode_tid(number: int) -> str:
    return "".join(_TID_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
