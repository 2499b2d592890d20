"""Strong references: maps with a record's `uri` and its `cid`, so that both say which version of it was meant.

Likes, reposts, the root and parent of a reply, quotes and pinned posts are such. A map may hold more keys beside.
Spec: https://atproto.com/specs/lexicon and the lexicon `com.atproto.repo.strongRef`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

CID_TEXTS: Final = re.compile(rb"(?<=ccidx;)b[a-z2-7]{58}")
"""A CID as the text of a key `cid`, as it looks in a record's block."""


def own_prefix(did: str) -> str:
    """How the AT-URI of every record in this account's repository begins; the record's key follows."""
    return f"at://{did}/"


def cid_texts(block: bytes) -> list[bytes]:
    """Every CID that a record's block has under a key `cid`, as text."""
    return CID_TEXTS.findall(block)


def own_refs(record: dict[str, Any], prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every map of a decoded record that is a strong reference into its own repository, with the key it names.

    Args:
        prefix: what `own_prefix` gives.
    """
    pending: list[Any] = [record]
    while pending:
        value = pending.pop()
        if type(value) is list:
            pending += value
        elif type(value) is dict:
            uri = value.get("uri")
            if type(uri) is str and uri.startswith(prefix) and type(value.get("cid")) is str:
                yield value, uri[len(prefix) :]
            pending += value.values()
