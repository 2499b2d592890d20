"""A tree that is not walked: its nodes as they come, in any order, and sums by which the file proves to be all of it.

Every node but the root is linked to once, and the root once by the commit. So the hashes of the nodes' CIDs and those
of all links to nodes have one sum exactly if no node is missing, needless or there twice, or only looks like one; and
those of records and of the links to them, if keys that share a record are taken once. What `scan` says of hashes and
chance holds here too.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from eurosky_pipeline.atproto.mst_node import LEAF_END, RIGHT_LINK, find_subtrees, find_values

_PART: Final = 64 * 1024
_MAX_PARTS: Final = 8


class TreeSums:
    """Add every node, then ask.

    Attributes:
        hashes: of the CIDs of the records that are linked to, node after node.
    """

    def __init__(self) -> None:
        self.hashes = array("q")
        self._nodes_sum = self._subtrees_sum = self._node_count = 0

    def add(self, cids: Sequence[bytes], nodes: Sequence[bytes]) -> None:
        """Some blocks that look like nodes, and their CIDs."""
        inner = [node for node in nodes if RIGHT_LINK in node or not node.endswith(LEAF_END)]  # most are leaves
        self._node_count += len(cids)
        self._nodes_sum += sum(map(hash, cids))
        self._subtrees_sum += sum(map(hash, find_subtrees(b"".join(inner))))
        self.hashes.extend(array("q", [*map(hash, find_values(b"".join(nodes)))]))

    def count_records(self, root: bytes, block_count: int, blocks_sum: int, *, is_each_single: bool) -> int | None:
        """How many keys the tree has; None if the blocks are not just those of one tree, or not so that sums can tell.

        Args:
            root: of the tree.
            block_count, blocks_sum: of all blocks that the tree should lead to, and of the hashes of their CIDs.
            is_each_single: whether it matters that a record of two keys is there once, which takes a while to see.
        """
        if self._nodes_sum != self._subtrees_sum + hash(root):  # a node that is linked to twice, say
            return None
        are_some_shared = len(self.hashes) + self._node_count != block_count
        if is_each_single:  # before a conversion, which has a use for its memory
            links_sum = _distinct_sum(self.hashes, min(_MAX_PARTS, 1 + len(self.hashes) // _PART))
        else:
            links_sum = _distinct_sum(self.hashes, 1) if are_some_shared else sum(self.hashes)
        return len(self.hashes) if self._nodes_sum + links_sum == blocks_sum else None


def _distinct_sum(hashes: array[int], parts: int) -> int:
    """Of each once. All at once they take a hundred bytes each; in parts, some time more."""
    if parts == 1:
        return sum(dict.fromkeys(hashes))  # being in order, it is summed twice as fast as a set
    return sum(sum(dict.fromkeys([each for each in hashes if each % parts == part])) for part in range(parts))
