"""All blocks of a file by their CIDs: what a conversion falls back on where sums cannot tell what the file holds.

It reads the file again. Nodes are indexed at once; records only by the hashes of their CIDs, and once more, by the
CIDs, where these do not tell that they are just those of the tree.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Set
from typing import Final

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, RepoError
from eurosky_pipeline.atproto.mst_node import NODE_START
from eurosky_pipeline.convert.scan import MARK, ScannedCar, block_in, nodes_in

SHORT: Final = slice(1, 32)
"""The part of a CID in the index: its codec and 224 bits of its digest. One byte more would take 16 more in memory."""

_MAX_KEPT_BYTES: Final = 12 * 1024 * 1024
_KEPT_OVERHEAD_BYTES: Final = 150


class Index:
    """Where each block stands, and which of them the tree was found to lead to.

    Attributes:
        nodes: the place of each block that looks like a node, by CID.
        records: once they are indexed, all blocks that are neither the commit nor look like nodes, by `SHORT` of
            their CIDs; True where the tree was found to lead to one.
        hashes: of the CIDs of all blocks.
        spare: the places of the commit's block, and of further copies of any block that was indexed.
    """

    def __init__(self, car: ScannedCar) -> None:
        """Raises CarError: the file has been written to."""
        self.nodes: dict[bytes, int] = {}
        self.records: dict[bytes, bool | None] = {}
        self.spare = [car.commit_place]
        self._car = car
        self._kept_nodes: dict[bytes, bytes] = {}
        self.hashes = array("q")
        self._records_sum = -hash(car.root)  # of the hashes of blocks that do not look like nodes
        left_bytes = _MAX_KEPT_BYTES
        for piece in car.pieces():
            hashes = [*map(hash, piece.cids)]
            self.hashes.extend(array("q", hashes))
            self._records_sum += sum(hashes)
            for number in nodes_in(piece):
                cid, data, place = block_in(piece, number)
                self._records_sum -= hashes[number]
                if cid in self.nodes:
                    self.spare.append(place)
                    continue
                self.nodes[cid] = place
                left_bytes -= len(data) + _KEPT_OVERHEAD_BYTES
                if left_bytes >= 0:
                    self._kept_nodes[cid] = data

    def node(self, cid: bytes) -> bytes:
        """A node's block, as the tree leads to it. Raises BlockMissingError, or RepoError: it does a second time."""
        place = self.nodes.get(cid)
        if place is None:
            raise BlockMissingError(f"a node of the tree is missing from the file: {Cid(cid)}", cid=cid)
        if place & MARK:
            raise RepoError(f"the tree leads to a node twice: {Cid(cid)}", offset=self._car.offset_of(place))
        self.nodes[cid] = place | MARK
        return self._kept_nodes.pop(cid, b"") or self._car.block_at(place)

    def is_tree_node(self, cid: bytes) -> bool:
        """Whether `node` was asked for this one."""
        return self.nodes[cid] & MARK != 0

    def holds(self, hashes: array[int]) -> bool:
        """Whether there is a block for each of these hashes of CIDs."""
        return self.holds_just(hashes) or not set(hashes).difference(self.hashes)

    def holds_just(self, hashes: Iterable[int]) -> bool:
        """Whether the blocks that do not look like nodes are the commit and those with these hashes, each as often."""
        return sum(hashes) == self._records_sum

    def index_records(self) -> None:
        """Fill `records`, and add to `spare` what there is of them twice."""
        commit, commit_place = self._car.root, self._car.commit_place
        for piece in self._car.pieces():
            for number, data in enumerate(piece.datas):
                if data[:3] == NODE_START:
                    continue
                cid, _, place = block_in(piece, number)
                if place == commit_place:
                    continue
                if cid == commit or cid[SHORT] in self.records:
                    self.spare.append(place)
                else:
                    self.records[cid[SHORT]] = None

    def orphans(self, nodes_as_records: Set[bytes]) -> list[int]:
        """The places of all blocks that the tree was not found to lead to, once the records are indexed or need not be.

        Args:
            nodes_as_records: of those that look like nodes, the ones that it leads to as records.
        """
        kept = {self.nodes[cid] for cid in nodes_as_records}
        nodes = [place for place in self.nodes.values() if not place & MARK and place not in kept]
        if None not in self.records.values():
            return nodes
        return nodes + [place for cid, place in self._car.blocks() if self.records.get(cid[SHORT], True) is None]
