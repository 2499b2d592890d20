"""AT-URIs: `at://authority[/collection[/rkey]]`, the names by which records refer to each other.

The strict form alone, which is the one that may stand in a record: no query, no fragment, no trailing slash, and no
percent-encoding (none of the parts has a character that would need it).
Spec: https://atproto.com/specs/at-uri-scheme#restricted-at-uri-syntax
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eurosky_pipeline.atproto.syntax import is_at_identifier, is_nsid, is_record_key
from eurosky_pipeline.errors import IntegrityError

MAX_AT_URI_LENGTH: Final = 8192
_SCHEME: Final = "at://"
_SHOWN_CHARACTERS = 120


class AtUriError(IntegrityError):
    """Not an AT-URI, or not in its strict form."""

    default_code = "at_uri"


@dataclass(frozen=True, slots=True)
class AtUri:
    """What an AT-URI names: a repository, a collection of it, or one record. `str()` gives the text.

    Attributes:
        authority: a DID, or a handle in the case in which it was given; a handle may be somebody else's tomorrow.
        collection: an NSID, or None.
        rkey: a record key, or None; there is none without a collection.

    Raises: AtUriError for parts that are none, so that a value is always right.
    """

    authority: str
    collection: str | None = None
    rkey: str | None = None

    def __post_init__(self) -> None:
        if not is_at_identifier(self.authority):
            raise AtUriError(f"an AT-URI names neither a DID nor a handle: {_shown(self.authority)}")
        if self.collection is None:
            if self.rkey is not None:
                raise AtUriError("an AT-URI has a record key and no collection")
        elif not is_nsid(self.collection):
            raise AtUriError(f"an AT-URI's collection is no NSID: {_shown(self.collection)}")
        elif self.rkey is not None and not is_record_key(self.rkey):
            raise AtUriError(f"an AT-URI's record key is none: {_shown(self.rkey)}")

    def __str__(self) -> str:
        return _SCHEME + "/".join(part for part in (self.authority, self.collection, self.rkey) if part is not None)

    @property
    def repo_path(self) -> str | None:
        """`collection/rkey`, the record's key in the tree of its repository; None if it names no record."""
        return None if self.rkey is None else f"{self.collection}/{self.rkey}"


def parse_at_uri(text: str) -> AtUri:
    """An AT-URI from its text; `str()` of the answer is the text again. Raises AtUriError."""
    if len(text) > MAX_AT_URI_LENGTH:
        raise AtUriError(f"an AT-URI of {len(text)} characters, where {MAX_AT_URI_LENGTH} are allowed")
    if not text.startswith(_SCHEME):
        raise AtUriError(f"not an AT-URI, which begins with at://: {_shown(text)}")
    parts = text.removeprefix(_SCHEME).split("/", 3)
    if len(parts) > 3:
        raise AtUriError(f"an AT-URI names more than a record: {_shown(text)}")
    return AtUri(*parts)


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])
