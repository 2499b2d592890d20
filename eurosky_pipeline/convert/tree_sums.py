"""A tree that is not walked: its nodes as they come, in any order, and sums by which the file proves to be all of it.

Every block but the commit is linked to, once as a node, by one key or more as a record; the root by the commit. So the
hashes of the CIDs of all blocks and those of all that is linked to have one sum exactly if no block is missing,
needless or there twice, and so have those of nodes and of links to subtrees. What only looks like a node is linked to
as a record, and the sums of nodes differ. What `scan` says of hashes and chance holds here too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from eurosky_pipeline.atproto.mst_node import find_links, find_subtrees

_PART: Final = 64 * 1024
_MAX_PARTS: Final = 8


class TreeSums:
    """Add every node, then ask.

    Attributes:
        hashes: of the CIDs that are linked to, node after node.
    """

    def __init__(self) -> None:
        self.hashes = array("q")
        self._nodes_sum = self._subtrees_sum = self._record_count = 0

    def add(self, cids: Iterable[bytes], nodes: Iterable[bytes]) -> None:
        """Some blocks that look like nodes, and their CIDs."""
        together = b"".join(nodes)
        links, subtrees = find_links(together), find_subtrees(together)
        self.hashes.extend(array("q", [*map(hash, links)]))
        self._nodes_sum += sum(map(hash, cids))
        self._subtrees_sum += sum(map(hash, subtrees))
        self._record_count += len(links) - len(subtrees)

    def count_records(self, root: bytes, block_count: int, blocks_sum: int, *, is_each_single: bool) -> int | None:
        """How many keys the tree has; None if the blocks are not just those of one tree, or not so that sums can tell.

        Args:
            root: of the tree.
            block_count, blocks_sum: of all blocks that the tree should lead to, and of the hashes of their CIDs.
            is_each_single: whether it matters that a record of two keys is there once, which takes a while to see.
        """
        if self._nodes_sum != self._subtrees_sum + hash(root):  # a node that is linked to twice, say
            return None
        are_some_shared = len(self.hashes) + 1 != block_count  # with the commit's link
        if is_each_single:  # before a conversion, which has a use for its memory
            links_sum = _distinct_sum(self.hashes, min(_MAX_PARTS, 1 + len(self.hashes) // _PART))
        else:
            links_sum = _distinct_sum(self.hashes, 1) if are_some_shared else sum(self.hashes)
        return self._record_count if hash(root) + links_sum == blocks_sum else None


def _distinct_sum(hashes: array[int], parts: int) -> int:
    """Of each once. All at once they take a hundred bytes each; in parts, some time more."""
    if parts == 1:
        return sum(dict.fromkeys(hashes))  # being in order, it is summed twice as fast as a set
    return sum(sum(dict.fromkeys([each for each in hashes if each % parts == part])) for part in range(parts))
