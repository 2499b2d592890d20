"""Two repositories side by side, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from eurosky_pipeline.atproto.cid import Cid


class KeyPair(NamedTuple):
    """What two repositories have under one key: a record's CID, or None for no record."""

    key: str
    left: Cid | None
    right: Cid | None

    @property
    def is_equal(self) -> bool:
        return self.left == self.right


def pair_keys(left: Iterator[tuple[str, Cid]], right: Iterator[tuple[str, Cid]]) -> Iterator[KeyPair]:
    """Merge two listings that are sorted by key, as `RepoFile.keys` gives them: every key of either, in order, once.

    Neither listing is held in memory.
    """
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None  # noqa: S101  (for the type checker: the loop's condition)
            yield KeyPair(one[0], one[1], None)
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield KeyPair(other[0], None, other[1])
            other = next(right, None)
        else:
            yield KeyPair(one[0], one[1], other[1])
            one, other = next(left, None), next(right, None)
