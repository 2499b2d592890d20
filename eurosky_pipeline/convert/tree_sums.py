"""A tree that is not walked: its nodes as they come, in any order, and sums by which the file proves to be all of it.

Every block but the commit is linked to, once as a node, by one key or more as a record; the root by the commit. So the
hashes of the CIDs of all blocks and those of all that is linked to have one sum exactly if no block is missing,
needless or there twice; what `scan` says of hashes and chance holds here too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from eurosky_pipeline.atproto.mst_node import find_links


class TreeSums:
    """Add every node, then ask."""

    def __init__(self) -> None:
        self._hashes = array("q")  # of the CIDs that are linked to
        self._node_count = self._record_count = 0

    def add(self, nodes: list[bytes]) -> None:
        """Some blocks that look like nodes."""
        links, record_count = find_links(b"".join(nodes))
        self._hashes.extend(array("q", [*map(hash, links)]))
        self._node_count += len(nodes)
        self._record_count += record_count

    def count_records(self, root: bytes, block_count: int, blocks_sum: int) -> int | None:
        """How many keys the tree has; None if the blocks are not just those of one tree, or not so that sums can tell.

        Args:
            root: of the tree.
            block_count, blocks_sum: of all blocks that the tree should lead to, and of the hashes of their CIDs.
        """
        self._hashes.append(hash(root))
        hashes: Iterable[int] = self._hashes
        if len(self._hashes) != self._node_count + self._record_count:  # a node that is linked to twice, say
            return None
        if len(self._hashes) != block_count:  # two keys may share a record
            hashes = dict.fromkeys(self._hashes)  # being in order, it is summed twice as fast as a set
        return self._record_count if sum(hashes) == blocks_sum else None
