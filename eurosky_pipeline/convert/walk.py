"""A walk through the whole tree, where sums cannot tell what the file holds: it may be damaged, hold more than the tree
leads to, or blocks twice; or be old, and have no rev.
"""

from __future__ import annotations

from array import array
from contextlib import suppress

from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.indexed_car import BlockMissingError
from eurosky_pipeline.atproto.mst import MstError
from eurosky_pipeline.atproto.mst_node import find_subtrees, find_values, read_links, read_node
from eurosky_pipeline.atproto.syntax import is_tid
from eurosky_pipeline.convert.index import SHORT, Index
from eurosky_pipeline.convert.reach import MAX_DEPTH, Keys, Reach
from eurosky_pipeline.convert.scan import ScannedCar
from eurosky_pipeline.errors import IntegrityError


def walk(car: ScannedCar, affected: dict[bytes, int]) -> Reach:
    """See that everything the tree leads to is in the file, and find the keys that may change, and what is needless.

    Nodes that lead straight to a record that may change are read strictly. Of the others only the form is looked at,
    by which all that they link to is known.

    Raises: MstError, RepoError: a node or a record is missing or malformed, or a key is none.
    """
    index = Index(car)
    keys = Keys(affected)
    path: list[bytes] = []  # the nodes from the root to the one at hand
    path_nodes: dict[bytes, dict[int, bytes]] = {}
    hashes, newest_rkey = array("q"), ""
    is_rev_needed = not car.commit.rev
    pending: list[tuple[bytes, int]] = [(car.commit.data, 0)]
    while pending:
        cid, depth = pending.pop()
        data = index.node(cid)
        try:
            if depth > MAX_DEPTH:
                raise MstError("a tree deeper than any can be, since a hash has no more zeros to begin with")
            values, subtrees = read_links(data)
            is_affected = not affected.keys().isdisjoint(values)
            node = read_node(data) if is_affected or is_rev_needed else None
        except IntegrityError as error:
            offset = car.offset_of(index.nodes[cid])
            raise MstError(error.detail, code=error.code, offset=offset, node=cid) from None
        hashes.extend(map(hash, values))
        path[depth:] = [cid]
        if node is not None and is_rev_needed:
            newest_rkey = max([newest_rkey, *filter(is_tid, map(_rkey, node.keys))])
        if node is not None and is_affected:
            for above in path:
                path_nodes.setdefault(above, {})
            path_nodes[cid] = keys.held_by(node)
        pending += [(subtree, depth + 1) for subtree in subtrees]
    nodes_as_records = frozenset() if index.holds_just(set(hashes)) else _find_records(car, index)
    return Reach(
        record_count=len(hashes),
        keys_of=keys.of,
        path_nodes=path_nodes,
        node_places=index.nodes,
        spare=frozenset([*index.spare, *index.orphans(nodes_as_records)]),
        hashes=index.hashes,
        newest_rkey=newest_rkey,
        nodes_as_records=nodes_as_records,
        tree_nodes=frozenset(filter(index.is_tree_node, nodes_as_records)),
        is_every_record_single=not index.records,
    )


def count_by_walk(car: ScannedCar) -> int:
    """How many records the tree has, all of which are in the file; how the tree is made is not looked at.

    Raises: RepoError: a node or a record is missing.
    """
    index = Index(car)
    hashes, pending = array("q"), [bytes(car.commit.data)]
    while pending:
        data = index.node(pending.pop())
        hashes.extend(map(hash, find_values(data)))
        pending += find_subtrees(data)
    if not index.holds(hashes):
        _find_records(car, index)  # which names the one that is missing
    return len(hashes)


def _find_records(car: ScannedCar, index: Index) -> frozenset[bytes]:
    """Look for each record that the tree names, and mark it; the tree has been walked through before.

    Returns: those of them that look like nodes.
    Raises: BlockMissingError: one is not in the file.
    """
    index.index_records()
    looking_like_nodes: set[bytes] = set()
    pending = [bytes(car.commit.data)]
    while pending:
        data = car.block_at(index.nodes[pending.pop()])
        for cid in find_values(data):
            if cid[SHORT] in index.records:
                index.records[cid[SHORT]] = True
            elif cid in index.nodes:
                looking_like_nodes.add(cid)
            else:
                raise _missing(data, cid)
        pending += find_subtrees(data)
    return frozenset(looking_like_nodes)


def _missing(node: bytes, cid: bytes) -> BlockMissingError:
    named = "a record"
    with suppress(IntegrityError):
        _, keys, values, _ = read_node(node)
        named = f"the record {keys[values.index(cid)].decode('ascii')}"
    return BlockMissingError(f"{named} is missing from the file: {Cid(cid)}", cid=cid)


def _rkey(key: bytes) -> str:
    return key.decode("ascii").partition("/")[2]
