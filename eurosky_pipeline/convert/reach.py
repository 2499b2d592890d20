"""What the tree leads to: where in it the records stand that may change, and what of the file it does not need."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.indexed_car import RepoError
from eurosky_pipeline.atproto.mst_node import NodeParts
from eurosky_pipeline.atproto.syntax import is_repo_path
from eurosky_pipeline.convert.scan import ScannedCar

MAX_DEPTH = 128
"""Of a tree: a hash has no more zeros to begin with."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found of a tree, all blocks of which are in the file.

    Attributes:
        record_count: keys, two of which may share a block.
        keys_of: the keys of each record that may change, by its CID.
        path_nodes: of each node that leads to such a record, by its CID and before those below it: the keys of those
            that it holds itself, by their place in it.
        node_places: where at least these nodes stand in the file.
        newest_rkey: the last TID among the record keys; empty if it was not looked for, or there is none.
        nodes_as_records: blocks that look like a node, and that a key names as its record.
        tree_nodes: those of them that hang in the tree, too.
        spare: the places of blocks that the tree does not lead to, of further copies of others, and of the commit.
        hashes: of the CIDs of all blocks of the file, at least of those that are not spare.
        is_every_record_single: whether no record stands in the file twice.
    """

    record_count: int
    keys_of: Mapping[bytes, list[str]]
    path_nodes: dict[bytes, dict[int, bytes]]
    node_places: Mapping[bytes, int]
    spare: frozenset[int]
    hashes: array[int]
    newest_rkey: str = ""
    nodes_as_records: frozenset[bytes] = field(default=frozenset())
    tree_nodes: frozenset[bytes] = field(default=frozenset())
    is_every_record_single: bool = True


def affected_records(car: ScannedCar) -> dict[bytes, int]:
    """The place of each record that may change, by CID: the candidates, and all that name one of these, and so on."""
    affected = dict(car.candidates)
    mentions = car.mentions()
    pending = list(affected) if mentions else []
    seen: set[int] = set()
    while pending:
        text = str(Cid(pending.pop())).encode()
        for place in mentions.pop(hash(text), ()):
            if place in seen:
                continue
            seen.add(place)
            cid = cid_of(car.block_at(place))
            if cid not in affected:
                affected[cid] = place
                pending.append(cid)
    return affected


class Keys:
    """The keys of the records that may change, as they are found, node by node.

    Attributes:
        of: the keys of each record, by its CID.
    """

    def __init__(self, affected: Mapping[bytes, int]) -> None:
        self.of: dict[bytes, list[str]] = {}
        self._affected = affected
        self._all: set[str] = set()

    def held_by(self, node: NodeParts) -> dict[int, bytes]:
        """Those that a node holds, by their place in it. Raises RepoError: one is no key, or another node has it."""
        held = {}
        for place, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            if value not in self._affected:
                continue
            if not is_repo_path(text := key.decode("ascii")):
                raise RepoError(f"not a collection and record key: {text[:120]!r}")
            if text in self._all:
                raise RepoError(f"the key stands in two nodes of the tree: {text[:120]}")
            self._all.add(text)
            self.of.setdefault(value, []).append(text)
            held[place] = key
        return held
