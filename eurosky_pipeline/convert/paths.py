"""The ways from the root to the records that may change, found from below, where sums tell that the file is whole.

Each block is linked to by one node then, or a record by several; which ones, the scan has noted, by hashes. So only
nodes on these ways are read: a walk through all of them took a quarter of a conversion's time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Set

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.mst import MstError
from eurosky_pipeline.atproto.mst_node import NodeParts, read_node
from eurosky_pipeline.convert.reach import MAX_DEPTH, Keys, Reach
from eurosky_pipeline.convert.scan import ScannedCar
from eurosky_pipeline.errors import IntegrityError

_MAX_ROUNDS = 32
"""Steps from a record up to the root: some ten in an honest tree of millions, and each takes a look at all nodes."""


class _Nodes:
    """The nodes that were read, and how they hang together.

    Attributes:
        places: in the file, by CID.
        parents: the CID of the node above, by that of the one below.
    """

    def __init__(self, car: ScannedCar) -> None:
        self._car = car
        self.places: dict[bytes, int] = {}
        self.parents: dict[bytes, bytes] = {}
        self._known: dict[bytes, bytes] = {}  # the same, of all that hangs under nodes that were read

    def linking_to(self, cids: Set[bytes], *, are_nodes: bool = False) -> Iterator[tuple[bytes, NodeParts]]:
        """The nodes that link to some of these, each with its CID. Raises MstError: one is not well-formed."""
        for place in self._car.linking_nodes(cids, are_nodes=are_nodes):
            data = self._car.block_at(place)
            cid = bytes(cid_of(data))
            try:
                node = read_node(data)
            except IntegrityError as error:
                offset = self._car.offset_of(place)
                raise MstError(error.detail, code=error.code, offset=offset, node=cid) from None
            self.places[cid] = place
            self._known |= {below: cid for below in (node.left, *node.rights) if below}
            yield cid, node

    def climb(self, cids: Iterable[bytes], root: bytes) -> bool:
        """Find all nodes above these; whether each way leads to the root."""
        pending = {cid for cid in cids if cid != root}
        for _ in range(_MAX_ROUNDS):
            if not pending:
                return True
            if unknown := pending - self._known.keys():
                deque(self.linking_to(unknown, are_nodes=True), maxlen=0)
            if not pending <= self._known.keys():
                return False
            self.parents |= {cid: self._known[cid] for cid in pending}
            pending = {above for cid in pending if (above := self.parents[cid]) not in self.parents and above != root}
        return False

    def depths(self, root: bytes) -> dict[bytes, int]:
        """How many nodes are above each, once they are found; those above come first."""
        below: dict[bytes, list[bytes]] = {}
        for cid, above in self.parents.items():
            below.setdefault(above, []).append(cid)
        depths, pending = {root: 0}, deque([root])
        while pending:
            above = pending.popleft()
            for cid in sorted(below.get(above, ())):
                depths[cid] = depths[above] + 1
                pending.append(cid)
        return depths


def find_paths(car: ScannedCar, affected: dict[bytes, int]) -> Reach | None:
    """The records that may change, by their keys, and the nodes that lead to them, which are all read strictly.

    Returns: None where sums do not tell that the file is whole and plain, or something else is needed of the tree.
    Raises: MstError, RepoError: a node that was read is malformed, or a key is none.
    """
    if car.record_count is None or not car.commit.rev:
        return None
    nodes = _Nodes(car)
    held_by: dict[bytes, dict[int, bytes]] = {}
    keys = Keys(affected)
    for cid, node in nodes.linking_to(affected.keys()):
        if held := keys.held_by(node):
            held_by[cid] = held
    root = bytes(car.commit.data)
    if not nodes.climb(held_by, root):
        return None
    depths = nodes.depths(root)
    if max(depths.values()) > MAX_DEPTH:
        return None
    return Reach(
        record_count=car.record_count,
        keys_of=dict(sorted((cid, sorted(found)) for cid, found in keys.of.items())),
        path_nodes={cid: held_by.get(cid, {}) for cid in depths},
        node_places=nodes.places,
        spare=frozenset([car.commit_place]),
        hashes=car.linked_hashes,
    )
