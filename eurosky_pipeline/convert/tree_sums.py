"""A tree that is not walked: its nodes as they come, in any order, and the sums by which they prove to be all of it.

Every node but the root is linked to once, and the root once by the commit. So the hashes of the nodes' CIDs and those
of all links to nodes have one sum exactly if no node is missing, needless or there twice; what `scan` says of hashes
and chance holds here too.
"""

from __future__ import annotations

from array import array
from typing import Final

from eurosky_pipeline.atproto.mst_node import SUBTREES, VALUES

_BATCH: Final = 1000
"""Nodes whose links are found together: a call for each would take as long as the finding."""


class TreeSums:
    """Add every node, then ask.

    Attributes:
        record_hashes: of the CIDs of all records that the nodes name.
    """

    def __init__(self) -> None:
        self.record_hashes: array[int] = array("q")
        self._nodes_sum = self._links_sum = 0
        self._batch: list[bytes] = []

    def add(self, cid: bytes, data: bytes) -> None:
        self._nodes_sum += hash(cid)
        self._batch.append(data)
        if len(self._batch) >= _BATCH:
            self._find_links()

    def is_whole(self, root: bytes) -> bool:
        """Whether the nodes are those of one tree, whose root is this one."""
        self._find_links()
        return self._nodes_sum == self._links_sum + hash(root)

    def _find_links(self) -> None:
        together = b"".join(self._batch)
        self._batch.clear()
        self._links_sum += sum(map(hash, SUBTREES.findall(together)))
        self.record_hashes.extend(map(hash, VALUES.findall(together)))
