"""What the tree leads to: which blocks are of the repository, and where in it the records stand that may change."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import DAG_CBOR_PREFIX, Cid, cid_of
from eurosky_pipeline.atproto.dag_cbor import LINK_HEAD
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, RepoError
from eurosky_pipeline.atproto.mst_node import read_node
from eurosky_pipeline.atproto.syntax import is_repo_path, is_tid
from eurosky_pipeline.convert.scan import SHORT, ScannedCar
from eurosky_pipeline.errors import IntegrityError

_LINK: Final = re.escape(LINK_HEAD + DAG_CBOR_PREFIX[:1])
_SUBTREES: Final = re.compile(rb"a[tl]" + re.escape(LINK_HEAD) + rb"(\x01\x71.{34})", re.DOTALL)
_LONG_KEY_BYTES: Final = 500  # so long that it is worth a look whether it is too long
_BATCH: Final = 1000
"""Nodes whose links are found together: a call for each would take as long as the finding."""
_SHORT_VALUES: Final = re.compile(rb"av" + _LINK + rb"(\x71.{30}).{4}", re.DOTALL)


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
    """Walk through the tree, check that it is whole and canonical, and mark all that it leads to.

    Raises: MstError, RepoError: the tree is not canonical, a node or a record is missing, or a key is none.
    """
    keys_of: dict[bytes, list[str]] = {}
    path: dict[int, bytes] = {}  # the nodes from the root to the one at hand, by height
    path_nodes: dict[bytes, dict[int, bytes]] = {}
    nodes_as_records: set[bytes] = set()
    is_rev_needed = not car.commit.rev
    count, newest_rkey, collection = 0, "", b"/"  # of no key
    try:
        for cid, height, node in mst.walk_nodes(car.commit.data, car.node):
            count += len(node.keys)
            collection = _check_keys(node.keys, collection)
            nodes_as_records |= _mark(car, [value[SHORT] for value in node.values], lambda: node)  # noqa: B023
            path[height] = cid
            if not affected.keys().isdisjoint(node.values):
                for above in range(max(path), height - 1, -1):
                    held = path_nodes.setdefault(path[above], {})
                for place, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
                    if value in affected:
                        keys_of.setdefault(value, []).append(key.decode("ascii"))
                        held[place] = key
            if is_rev_needed:
                newest_rkey = max([newest_rkey, *filter(is_tid, map(_rkey, node.keys))])
    except mst.MstError as error:
        offset = car.offset_of(car.nodes[error.node]) if error.node in car.nodes else None
        raise mst.MstError(error.detail, code=error.code, offset=offset, node=error.node) from None
    return Reach(count, keys_of, path_nodes, nodes_as_records, newest_rkey)


def count_records(car: ScannedCar) -> int:
    """How many records the tree has, all of which are in the file; how the tree is made is not looked at.

    Raises: RepoError: a node or a record is missing.
    """
    count, pending = 0, [bytes(car.commit.data)]
    while pending:
        nodes = car.take_nodes(pending[-_BATCH:])
        del pending[-_BATCH:]
        together = b"".join(nodes)
        shorts = _SHORT_VALUES.findall(together)
        count += len(shorts)
        if not all(map(car.records.__contains__, shorts)):
            for node in nodes:
                _mark(car, _SHORT_VALUES.findall(node), lambda: _read(node))  # noqa: B023
        pending += _SUBTREES.findall(together)
    return count


def _mark(car: ScannedCar, shorts: Sequence[bytes], read: Callable[[], mst.NodeParts]) -> set[bytes]:
    """Mark the records of a node, which is read again only if there is something odd about it.

    Returns: those of them that look like nodes.
    Raises: BlockMissingError: one is not in the file.
    """
    records, count = car.records, len(car.records)
    records.update(dict.fromkeys(shorts, True))
    if len(records) == count:
        return set()
    node = read()
    looking_like_nodes = {value for value in node.values if value in car.nodes}
    for value in looking_like_nodes:
        del records[value[SHORT]]
    if len(records) > count:
        missing = next(reversed(records))  # a new key comes last
        key, cid = next((key, cid) for key, cid in zip(node.keys, node.values, strict=True) if cid[SHORT] == missing)
        raise BlockMissingError(f"the record {key.decode('ascii')} is missing from the file: {Cid(cid)}", cid=cid)
    return looking_like_nodes


def _read(data: bytes) -> mst.NodeParts:
    try:
        return read_node(data)
    except IntegrityError as error:
        raise RepoError(f"a node of the tree is {error.detail}", code=error.code) from None


def _rkey(key: bytes) -> str:
    return key.decode("ascii").partition("/")[2]


def _check_keys(keys: Sequence[bytes], collection: bytes) -> bytes:
    """Raises RepoError for a key that is none. The keys are in their order, and of the characters of a key.

    Args:
        collection: of the last node's last key, with its slash; most nodes hold keys of that one only.

    Returns: the same of this node.
    """
    if not keys or (
        keys[0].startswith(collection)
        and keys[-1].startswith(collection)
        and min(map(len, keys)) - len(collection) > 2
        and max(map(len, keys)) - len(collection) < _LONG_KEY_BYTES
    ):
        return collection
    for key in keys:
        if not is_repo_path(key.decode("ascii")):
            raise RepoError(f"not a collection and record key: {key.decode('ascii')[:120]!r}")
    return keys[-1][: keys[-1].index(b"/") + 1]
