"""Lists that come in pages: followed to their end, and never further than an honest one goes.

A hostile host may never end one: by a cursor that comes again, by pages that do, by new ones without end, or by time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from eurosky_pipeline.xrpc.client import Params, XrpcClient
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable

PAGE_LIMIT = 1000
MAX_PAGES = 10_000
MAX_LISTED = 1_000_000
"""Blobs of one account; the largest known have some tens of thousands."""
MAX_LISTING_S = 3600.0
"""For all pages of a list together, without what is done between them."""
_MAX_CURSOR_CHARS = 1024


def rows_of(client: XrpcClient, nsid: str, key: str, params: Params) -> Iterator[object]:
    """The rows under `key` of every page, until one is empty or names no next one: servers end lists in both ways.

    What comes again is told by its cursor, and by the page itself where each has a new cursor; of a page, only a hash
    is kept.

    Raises:
        AnswerInvalid: a cursor, or a page, came back a second time, or the pages do not end.
        HostUnreachable: they take too long.
    """
    cursor: str | None = None
    cursors: set[str] = set()
    pages: set[int] = set()
    listed, taken_s = 0, 0.0
    for _ in range(MAX_PAGES):
        begun_s = time.monotonic()
        items, cursor = _page(client, nsid, key, params, cursor)
        taken_s += time.monotonic() - begun_s
        listed += len(items)
        if listed > MAX_LISTED:
            raise AnswerInvalid(f"{client.host} answers {nsid} with more than {MAX_LISTED} rows")
        if len(items) > PAGE_LIMIT:
            raise AnswerInvalid(f"{client.host} answered {nsid} with more than the {PAGE_LIMIT} rows asked for")
        content = hash(json.dumps(items))
        if items and content in pages:
            raise AnswerInvalid(f"{client.host} answers {nsid} in a circle: it gave the same page twice")
        yield from items
        if not items or cursor is None:
            return
        if cursor in cursors:
            raise AnswerInvalid(f"{client.host} answers {nsid} in a circle: it gave the same cursor twice")
        if taken_s > MAX_LISTING_S:
            raise HostUnreachable(f"{client.host} takes too long to answer {nsid}", hint="try again later")
        cursors.add(cursor)
        pages.add(content)
    raise AnswerInvalid(f"{client.host} answers {nsid} without end: more than {MAX_PAGES} pages")


def _page(
    client: XrpcClient, nsid: str, key: str, params: Params, cursor: str | None
) -> tuple[list[object], str | None]:
    answer = client.query(nsid, {**params, "limit": PAGE_LIMIT, **({"cursor": cursor} if cursor else {})})
    items, following = answer.get(key), answer.get("cursor")
    if not isinstance(items, list):
        raise AnswerInvalid(f"{client.host} answered {nsid} without a list of {key}")
    if not isinstance(following, str) or not following:
        return items, None
    if len(following) > _MAX_CURSOR_CHARS or not following.isprintable():
        raise AnswerInvalid(f"{client.host} answered {nsid} with a cursor that cannot be sent back")
    return items, following
