"""What the tree leads to: which blocks are of the repository, and where in it the records stand that may change."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, RepoError
from eurosky_pipeline.atproto.mst_node import find_subtrees, find_values, read_links, read_node
from eurosky_pipeline.atproto.syntax import is_repo_path, is_tid
from eurosky_pipeline.convert.scan import SHORT, ScannedCar
from eurosky_pipeline.errors import IntegrityError

_MAX_DEPTH = 128


@dataclass(frozen=True, slots=True)
class Reach:
    """What a walk through the whole tree has found.

    Attributes:
        record_count: keys, two of which may share a block.
        keys_of: the keys of each record that may change, by its CID.
        path_nodes: of each node that leads to such a record, by its CID and before those below it: the keys of those
            that it holds itself, by their place in it.
        nodes_as_records: blocks that look like a node, and that a key names as its record.
        newest_rkey: the last TID among the record keys; empty if it was not looked for, or there is none.
    """

    record_count: int
    keys_of: dict[bytes, list[str]]
    path_nodes: dict[bytes, dict[int, bytes]]
    nodes_as_records: set[bytes]
    newest_rkey: str


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


def reach(car: ScannedCar, affected: dict[bytes, int]) -> Reach:
    """Go through the whole tree, see that everything it leads to is in the file, and find the keys that may change.

    Nodes that lead straight to a record that may change are read strictly. Of the others only the form is looked at,
    by which all that they link to is known.

    Raises: MstError, RepoError: a node or a record is missing or malformed, or a key is none.
    """
    keys_of: dict[bytes, list[str]] = {}
    path: list[bytes] = []  # the nodes from the root to the one at hand
    path_nodes: dict[bytes, dict[int, bytes]] = {}
    hashes, newest_rkey = array("q"), ""
    is_rev_needed = not car.commit.rev
    pending: list[tuple[bytes, int]] = [(car.commit.data, 0)]
    while pending:
        cid, depth = pending.pop()
        data = car.node(cid)
        try:
            if depth > _MAX_DEPTH:
                raise mst.MstError("a tree deeper than any can be, since a hash has no more zeros to begin with")
            values, subtrees = read_links(data)
            is_affected = not affected.keys().isdisjoint(values)
            node = read_node(data) if is_affected or is_rev_needed else None
        except IntegrityError as error:
            raise mst.MstError(error.detail, code=error.code, offset=car.offset_of(car.nodes[cid]), node=cid) from None
        hashes.extend(map(hash, values))
        path[depth:] = [cid]
        if node is not None and is_rev_needed:
            newest_rkey = max([newest_rkey, *filter(is_tid, map(_rkey, node.keys))])
        if node is not None and is_affected:
            for above in path:
                held = path_nodes.setdefault(above, {})
            for place, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
                if value in affected:
                    keys_of.setdefault(value, []).append(_checked(key))
                    held[place] = key
        pending += [(subtree, depth + 1) for subtree in subtrees]
    nodes_as_records = set() if car.holds_just(set(hashes)) else _find_records(car)
    return Reach(len(hashes), keys_of, path_nodes, nodes_as_records, newest_rkey)


def count_records(car: ScannedCar) -> int:
    """How many records the tree has, all of which are in the file; how the tree is made is not looked at.

    Raises: RepoError: a node or a record is missing.
    """
    count = car.count_by_sums()
    if count is not None:
        return count
    car.index_nodes()
    hashes, pending = array("q"), [bytes(car.commit.data)]
    while pending:
        data = car.node(pending.pop())
        hashes.extend(map(hash, find_values(data)))
        pending += find_subtrees(data)
    if not car.holds(hashes):
        _find_records(car)  # which names the one that is missing
    return len(hashes)


def _find_records(car: ScannedCar) -> set[bytes]:
    """Look for each record that the tree names, and mark it; the tree has been walked through before.

    Returns: those of them that look like nodes.
    Raises: BlockMissingError: one is not in the file.
    """
    car.index_records()
    looking_like_nodes: set[bytes] = set()
    pending = [bytes(car.commit.data)]
    while pending:
        data = car.block_at(car.nodes[pending.pop()])
        for cid in find_values(data):
            if cid[SHORT] in car.records:
                car.records[cid[SHORT]] = True
            elif cid in car.nodes:
                looking_like_nodes.add(cid)
            else:
                raise _missing(data, cid)
        pending += find_subtrees(data)
    return looking_like_nodes


def _missing(node: bytes, cid: bytes) -> BlockMissingError:
    named = "a record"
    with suppress(IntegrityError):
        _, keys, values, _ = read_node(node)
        named = f"the record {keys[values.index(cid)].decode('ascii')}"
    return BlockMissingError(f"{named} is missing from the file: {Cid(cid)}", cid=cid)


def _rkey(key: bytes) -> str:
    return key.decode("ascii").partition("/")[2]


def _checked(key: bytes) -> str:
    text = key.decode("ascii")
    if not is_repo_path(text):
        raise RepoError(f"not a collection and record key: {text[:120]!r}")
    return text
