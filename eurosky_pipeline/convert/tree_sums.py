"""A tree that is not walked: its nodes as they come, in any order, and the sums by which they prove to be all of it.

Every node but the root is linked to once, and the root once by the commit. So the hashes of the nodes' CIDs and those
of all links to nodes have one sum exactly if no node is missing, needless or there twice; what `scan` says of hashes
and chance holds here too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from eurosky_pipeline.atproto.mst_node import find_subtrees, find_values


class TreeSums:
    """Add every node, then ask.

    Attributes:
        record_hashes: of the CIDs of all records that the nodes name.
    """

    def __init__(self) -> None:
        self.record_hashes: array[int] = array("q")
        self._nodes_sum = self._links_sum = 0

    def add(self, hashes_sum: int, datas: Iterable[bytes]) -> None:
        """Some nodes: the sum of the hashes of their CIDs, and their blocks."""
        together = b"".join(datas)
        self._nodes_sum += hashes_sum
        self._links_sum += sum(map(hash, find_subtrees(together)))
        self.record_hashes.extend(array("q", [*map(hash, find_values(together))]))

    def is_whole(self, root: bytes) -> bool:
        """Whether the nodes are those of one tree, whose root is this one."""
        return self._nodes_sum == self._links_sum + hash(root)
