"""The string formats of records' fields that name no account and no record: datetimes, languages, URIs, CIDs.

Nothing here decides whether a file is a whole repository: these are for whoever looks into records. Lengths
are looked at first, and no pattern can be matched in two ways: no text takes long to refuse.
Spec: https://atproto.com/specs/lexicon#string-formats
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

MAX_DATETIME_LENGTH: Final = 64
MAX_LANGUAGE_LENGTH: Final = 128
MAX_URI_LENGTH: Final = 8192
MAX_CID_TEXT_LENGTH: Final = 256

_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:Z|(?!-00:00)(?P<sign>[+-])(?P<offset_hours>[01][0-9]|2[0-3]):(?P<offset_minutes>[0-5][0-9]))"
)
_GREGORIAN_CYCLE_YEARS = 400

_LANGUAGE = re.compile(
    r"[a-z]{2,3}(?:-[A-Za-z]{3}){0,3}"
    r"(?:-[A-Za-z]{4})?"  # script
    r"(?:-(?:[A-Za-z]{2}|[0-9]{3}))?"  # region
    r"(?P<variants>(?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*)"
    r"(?P<extensions>(?:-[0-9A-WYZa-wyz](?:-[A-Za-z0-9]{2,8})+)*)"
    r"(?:-[Xx](?:-[A-Za-z0-9]{1,8})+)?"
)
# Tags for private use, and RFC 5646's closed list of old ones that its grammar would not allow (the rest it does).
_OTHER_LANGUAGE = re.compile(
    r"[Xx](?:-[A-Za-z0-9]{1,8})+"
    r"|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)"
    r"|en-GB-oed|sgn-BE-FR|sgn-BE-NL|sgn-CH-DE"
)

_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:"
    r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
    r"(?:#(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)

# By the prefix that names the base. A CID of version 0, which has no prefix, begins with Q: no base does.
_CID_ALPHABETS = {
    "7": "0-7", "9": "0-9",
    "f": "0-9a-f", "F": "0-9A-F",
    "v": "0-9a-v", "V": "0-9A-V", "t": "0-9a-v=", "T": "0-9A-V=",
    "b": "a-z2-7", "B": "A-Z2-7", "c": "a-z2-7=", "C": "A-Z2-7=",
    "k": "0-9a-z", "K": "0-9A-Z",
    "z": "1-9A-HJ-NP-Za-km-z", "Z": "1-9A-HJ-NP-Za-km-z",
    "m": "A-Za-z0-9+/", "M": "A-Za-z0-9+/=", "u": "A-Za-z0-9_-", "U": "A-Za-z0-9_=-",
}  # fmt: skip
_MIN_CID_DIGITS = 7
_CID_TEXT = re.compile(
    "|".join(f"{base}[{digits}]{{{_MIN_CID_DIGITS},}}" for base, digits in _CID_ALPHABETS.items()), re.ASCII
)


def is_datetime(text: str) -> bool:
    """A moment in the form that RFC 3339, ISO 8601 and WHATWG HTML have in common, such as 1985-04-12T23:20:50.123Z.

    It must exist: no month 13, no 29th of February in 1985, no second 60, and in UTC a year from 0000 to 9999.
    Spec: https://atproto.com/specs/lexicon#datetime
    """
    found = _DATETIME.fullmatch(text) if len(text) <= MAX_DATETIME_LENGTH else None
    if found is None:
        return False
    year, month, day, hour, minute, second = (int(found[part]) for part in range(1, 7))
    # Python has no year 0, nor one after 9999: a year at the same place in the calendar's cycle stands in.
    stand_in = 2000 + year % _GREGORIAN_CYCLE_YEARS
    try:
        local = datetime(stand_in, month, day, hour, minute, second)  # noqa: DTZ001 -- the offset comes off below
    except ValueError:
        return False
    offset = timedelta(hours=int(found["offset_hours"] or 0), minutes=int(found["offset_minutes"] or 0))
    in_utc = local + offset if found["sign"] == "-" else local - offset
    return 0 <= in_utc.year - stand_in + year <= 9999


def is_language(text: str) -> bool:
    """A language tag such as `pt-BR`: well-formed, and with no variant or extension repeated.

    The first subtag is in lower case, as every implementation of the AT Protocol demands.
    Specs: https://atproto.com/specs/lexicon#language and https://www.rfc-editor.org/rfc/rfc5646 (BCP 47)
    """
    if len(text) > MAX_LANGUAGE_LENGTH:
        return False
    if _OTHER_LANGUAGE.fullmatch(text):
        return True
    found = _LANGUAGE.fullmatch(text)
    if found is None:
        return False
    variants = found["variants"].lower().split("-")
    singletons = [subtag for subtag in found["extensions"].lower().split("-") if len(subtag) == 1]
    return len(variants) == len(set(variants)) and len(singletons) == len(set(singletons))


def is_uri(text: str) -> bool:
    """A URI with any scheme and something behind it, in the characters that RFC 3986 allows.

    Spec: https://atproto.com/specs/lexicon#uri
    """
    return len(text) <= MAX_URI_LENGTH and _URI.fullmatch(text) is not None


def is_cid_text(text: str) -> bool:
    """What may be a CID of any kind: the prefix of a base, then digits of that base. It is not decoded.

    Whether it is one that the AT Protocol blesses is `cid.parse_cid`'s to say.
    Specs: https://atproto.com/specs/lexicon#cid-link and https://github.com/multiformats/multibase
    """
    return len(text) <= MAX_CID_TEXT_LENGTH and _CID_TEXT.fullmatch(text) is not None
