"""What the tree leads to: which blocks are of the repository, and where in it the records stand that may change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.indexed_car import BlockMissingError, RepoError
from eurosky_pipeline.atproto.mst_node import NODE_START
from eurosky_pipeline.atproto.syntax import is_repo_path, is_tid
from eurosky_pipeline.convert.scan import ScannedCar

DIGEST_START: Final = 5
"""Of a CID that is known to be of DAG-CBOR, the last 31 bytes tell enough, and take a fifth less memory than all."""

_SUBTREES: Final = re.compile(rb"a[tl]\xd8\x2a\x58\x25\x00(\x01\x71\x12\x20.{32})", re.DOTALL)


@dataclass(slots=True)
class Reach:
    """What a walk through the whole tree has found.

    Attributes:
        wanted: the digests, cut as `DIGEST_START` says, of all records that the tree leads to, and of its nodes.
        record_count: keys, two of which may share a block.
        keys_of: the keys of each record that may change, by its CID.
        path_nodes: of each node that leads to such a record, by its CID and before those below it: the keys of those
            that it holds itself, by their place in it.
        newest_rkey: the last TID among the record keys; empty if it was not looked for, or there is none.
    """

    wanted: set[bytes]
    record_count: int
    keys_of: dict[bytes, list[str]]
    path_nodes: dict[bytes, dict[int, bytes]]
    newest_rkey: str


def affected_records(car: ScannedCar) -> dict[bytes, int]:
    """The place of each record that may change, by CID: the candidates, and all that name one of these, and so on."""
    affected = dict(car.candidates)
    mentions = car.mentions()
    pending = list(affected) if mentions else []
    while pending:
        text = str(Cid(pending.pop())).encode()
        for place in mentions.pop(hash(text), ()):
            cid = cid_of(car.block_at(place))
            if cid not in affected:
                affected[cid] = place
                pending.append(cid)
    return affected


def reach(car: ScannedCar, affected: dict[bytes, int]) -> Reach:
    """Walk through the tree, and check it whole.

    Raises: MstError, RepoError: the tree is not canonical, a node is missing, or a key is none.
    """
    wanted: set[bytes] = set()
    keys_of: dict[bytes, list[str]] = {}
    path: dict[int, bytes] = {}  # the nodes from the root to the one at hand, by height
    path_nodes: dict[bytes, dict[int, bytes]] = {}
    is_rev_needed = not car.commit.rev
    count, newest_rkey = 0, ""
    try:
        for cid, height, node in mst.walk_nodes(car.commit.data, car.node):
            wanted.add(cid[DIGEST_START:])
            wanted.update([value[DIGEST_START:] for value in node.values])
            count += len(node.keys)
            path[height] = cid
            if not affected.keys().isdisjoint(node.values):
                for above in range(max(path), height - 1, -1):
                    held = path_nodes.setdefault(path[above], {})
                for place, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
                    if value in affected:
                        keys_of.setdefault(value, []).append(_checked(key))
                        held[place] = key
            if is_rev_needed:
                newest_rkey = max([newest_rkey, *filter(is_tid, (_rkey(key) for key in node.keys))])
    except (mst.MstError, BlockMissingError) as error:
        raise _placed(error, car) from None
    return Reach(wanted, count, keys_of, path_nodes, newest_rkey)


def count_records(car: ScannedCar) -> int:
    """How many records the tree has, without looking at their keys. Raises BlockMissingError: a node is missing."""
    count, pending = 0, [bytes(car.commit.data)]
    while pending:
        data = car.node(pending.pop())
        if data[:3] != NODE_START:
            raise RepoError("the tree leads to a block that is no node of it")
        head = data[3]
        width = 1 << max(head - 0x98, 0)
        count += head - 0x80 if head < 0x98 else int.from_bytes(data[4 : 4 + width], "big")
        pending += _SUBTREES.findall(data)
    return count


def _rkey(key: bytes) -> str:
    return key.decode("ascii").partition("/")[2]


def _checked(key: bytes) -> str:
    text = key.decode("ascii")
    if not is_repo_path(text):
        raise RepoError(f"not a collection and record key: {text[:120]!r}")
    return text


def _placed(error: mst.MstError | BlockMissingError, car: ScannedCar) -> mst.MstError | BlockMissingError:
    """An error of the tree, told with its place in the file where that is known."""
    if isinstance(error, BlockMissingError):
        return error
    return mst.MstError(error.detail, code=error.code, offset=car.place_of_node(error.node), node=error.node)
