"""Identifiers as text: DIDs, handles, NSIDs, record keys and TIDs.

Every check is exact, knows no other alphabet than ASCII, and looks at the length first: no text takes long to refuse.
AT-URIs, which are made of these, are in `aturi`; the other string formats that a record's fields can have, in
`formats`. Each function names its page of the specification.
"""

from __future__ import annotations

import re
from functools import lru_cache
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
    """A DID of any method, as far as the AT Protocol's syntax goes: what stands in strangers' records and URIs.

    Spec: https://atproto.com/specs/did#at-protocol-did-identifier-syntax
    """
    return len(text) <= MAX_DID_LENGTH and _DID.fullmatch(text) is not None


def is_account_did(text: str) -> bool:
    """A DID that an account can have: a DID whose method, where it is `did:plc`, knows such an identifier.

    This is the check for a DID to migrate, and for the one in a commit.
    Spec: https://web.plc.directory/spec/v0.1/did-plc (24 characters of base32)
    """
    return is_did(text) and (not text.startswith("did:plc:") or _PLC.fullmatch(text) is not None)


def is_handle(text: str) -> bool:
    """A domain name of at least two labels, in any case; whether its top-level domain is reserved is not asked here.

    Spec: https://atproto.com/specs/handle#handle-identifier-syntax
    """
    return len(text) <= MAX_HANDLE_LENGTH and _HANDLE.fullmatch(text) is not None


def normalize_handle(handle: str) -> str:
    """The spelling in which handles are stored and compared: lower case. Raises ValueError if it is no handle.

    Spec: https://atproto.com/specs/handle#handle-identifier-syntax
    """
    if not is_handle(handle):
        raise ValueError(f"not a handle: {handle[:80]!r}")
    return handle.lower()


def is_at_identifier(text: str) -> bool:
    """A DID or a handle: what names an account. Spec: https://atproto.com/specs/lexicon#at-identifier"""
    return is_did(text) if text.startswith("did:") else is_handle(text)


def is_nsid(text: str) -> bool:
    """A namespaced identifier, such as a collection's name: a domain name reversed, then a name.

    The length is limited as a whole: the public list of good ones has domain names beyond 253 characters.
    Spec: https://atproto.com/specs/nsid#nsid-syntax
    """
    return len(text) <= MAX_NSID_LENGTH and _NSID.fullmatch(text) is not None


def is_record_key(text: str) -> bool:
    """What names a record within its collection: 1 to 512 characters, and neither `.` nor `..`.

    Spec: https://atproto.com/specs/record-key#record-key-syntax
    """
    return _RECORD_KEY.fullmatch(text) is not None and text not in {".", ".."}


def is_tid(text: str) -> bool:
    """A timestamp identifier: 13 characters of base32-sortable. Spec: https://atproto.com/specs/tid#tid-syntax"""
    return _TID.fullmatch(text) is not None


def is_repo_path(text: str) -> bool:
    """`collection/rkey`, as the keys of a repository's tree are.

    Spec: https://atproto.com/specs/repository#repo-paths
    """
    collection, slash, rkey = text.partition("/")
    return bool(slash) and _is_collection(collection) and is_record_key(rkey)


@lru_cache(maxsize=1024)
def _is_collection(text: str) -> bool:
    """`is_nsid`, remembered: a repository has many records and few collections."""
    return is_nsid(text)


def tid_of(microseconds: int, clock_id: int = 0) -> str:
    """The TID of a moment: 53 bits of Unix time in microseconds, then 10 bits of clock identifier.

    Raises ValueError for numbers that do not fit. Spec: https://atproto.com/specs/tid
    """
    if not 0 <= microseconds < 2**53 or not 0 <= clock_id < 2**10:
        raise ValueError("a TID holds 53 bits of microseconds and 10 of clock id")
    return _encode_tid(microseconds << 10 | clock_id)


def next_tid(tid: str) -> str:
    """The TID that sorts right after this one. Raises ValueError if it is none, or the last."""
    if not is_tid(tid):
        raise ValueError(f"not a TID: {tid[:80]!r}")
    number = 0
    for character in tid:
        number = number << 5 | _TID_ALPHABET.index(character)
    if number + 1 >= 2**64:
        raise ValueError("there is no later TID")
    return _encode_tid(number + 1)


def _encode_tid(number: int) -> str:
    return "".join(_TID_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
