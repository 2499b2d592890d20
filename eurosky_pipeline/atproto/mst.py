"""The Merkle search tree: sorted keys, arranged so that their set alone decides every node.

A key's *height* is the number of leading zero bits of its SHA-256, in pairs; it lives in a node of that height:

    height 1          [   c   ]              A node holds keys of one height, in order, and between them
                     /         \\             links to the subtrees of the keys between, which live lower.
    height 0   [ a  b ]      [ d  e ]

Tricky bits: a node between two heights may hold no entry and only its left subtree; the root may not, unless the tree
is empty. Heights fall by exactly one from node to child, so a walk is bounded and a cycle cannot exist; and since a
node's keys must lie between the keys around it, no node can be visited twice either. A key here is any
`segment/segment` of the allowed characters; that the segments are a collection and a record key is the repository's
rule, not the tree's. Spec: https://atproto.com/specs/repository#mst-structure
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.mst_node import (
    MAX_KEY_BYTES,
    ZERO_PAIRS,
    Entry,
    MstError,
    Node,
    NodeParts,
    check_key,
    encode_node,
    key_height,
    parse_node,
    patch_node,
    read_node,
    shown,
)
from eurosky_pipeline.errors import IntegrityError

__all__ = [
    "MAX_KEY_BYTES",
    "Change",
    "Entry",
    "LoadBlock",
    "MstError",
    "Node",
    "build",
    "build_sorted",
    "diff",
    "encode_node",
    "key_height",
    "parse_node",
    "patch_node",
    "walk",
]

LoadBlock = Callable[[bytes], bytes]
"""A block's data by its CID; raises MstError (or another IntegrityError) if there is no such block."""

PutNode = Callable[[Cid, bytes], None]
"""Takes a node that has been built: its CID and its block."""


class Change(NamedTuple):
    """A key whose record differs between two trees; None where a tree does not have the key."""

    key: bytes
    old: Cid | None
    new: Cid | None


class _Subtree(NamedTuple):
    """A node that has not been opened yet, and where it hangs: its height (None for a root, which tells itself), and
    the keys between which its own must lie."""

    cid: bytes
    height: int | None
    lower: bytes
    upper: bytes | None


def walk(
    root: bytes, load: LoadBlock, *, on_error: Callable[[IntegrityError], None] | None = None
) -> Iterator[tuple[bytes, Cid]]:
    """Every (key, record CID) of the tree under `root`, in key order.

    Checks on the way that the tree is the canonical one: heights, strictly rising valid keys, shortest prefixes. Each
    node is checked whole before anything of it is handed out.

    Args:
        on_error: is told of each node that is missing or wrong, whose subtree is then left out; without it, the first
            such node ends the walk. A node that was wrong at one place is not read again at another.

    Raises:
        MstError: where the tree is not canonical, with the `node` at fault; or whatever `load` raises for a missing
            block.
    """
    levels: list[Iterator[_Subtree | Entry]] = [iter([_Subtree(root, None, b"", None)])]  # what is left at each height
    refused: set[bytes] = set()  # a hostile tree links to one large node thousands of times
    while levels:
        part = next(levels[-1], None)
        if part is None:
            levels.pop()
            continue
        if type(part) is Entry:
            yield part[:2]
            continue
        assert type(part) is _Subtree  # noqa: S101 - for the type checker
        try:
            if part.cid in refused:
                raise MstError("a node that is wrong at one place stands at another place too", node=part.cid)
            node, height = _open(part, load)
        except IntegrityError as error:
            if on_error is None:
                raise
            if isinstance(error, MstError):
                refused.add(part.cid)
            on_error(error)
            continue
        if height == 0:
            yield from zip(node.keys, map(Cid, node.values), strict=True)
        else:
            levels.append(_parts(node, height, part))


def diff(old_root: bytes, load_old: LoadBlock, new_root: bytes, load_new: LoadBlock) -> Iterator[Change]:
    """Every key whose record differs between two trees, in key order.

    Subtrees that both trees have are not opened: the work follows the number of changes, not the size of the trees.
    Raises: as `walk`, for the parts that are opened.
    """
    old: list[_Subtree | Entry] = [_Subtree(old_root, None, b"", None)]
    new: list[_Subtree | Entry] = [_Subtree(new_root, None, b"", None)]
    while old or new:
        left, right = old[-1] if old else None, new[-1] if new else None
        if type(left) is _Subtree and type(right) is _Subtree and left.cid == right.cid:
            old.pop()
            new.pop()
        elif type(left) is _Subtree and (type(right) is not _Subtree or _is_higher(left, right)):
            _replace_by_parts(old, load_old)
        elif type(right) is _Subtree:
            _replace_by_parts(new, load_new)
        elif type(left) is Entry and (type(right) is not Entry or left.key < right.key):
            old.pop()
            yield Change(left.key, left.value, None)
        elif type(right) is Entry and (type(left) is not Entry or right.key < left.key):
            new.pop()
            yield Change(right.key, None, right.value)
        elif type(left) is Entry and type(right) is Entry:
            old.pop()
            new.pop()
            if left.value != right.value:
                yield Change(left.key, left.value, right.value)


def build(entries: Iterable[tuple[bytes, Cid]], put: PutNode) -> Cid:
    """`build_sorted` for (key, record CID) pairs in any order."""
    return build_sorted(sorted(entries), put)


def build_sorted(entries: Iterable[tuple[bytes, Cid]], put: PutNode) -> Cid:
    """Build the tree for (key, record CID) pairs in key order; every node goes to `put`, children first.

    Holds the open nodes of the path to the last key only, so that memory does not follow the number of entries.

    Returns: the root node's CID.
    Raises: MstError for a key that is not valid, comes twice, or is not in its order.
    """
    layers = [_OpenNode()]
    previous = b""
    for key, value in entries:
        check_key(key)
        if key <= previous:
            fault = "comes twice" if key == previous else f"comes after {shown(previous)}"
            raise MstError(f"the key {shown(key)} {fault}")
        height = key_height(key)
        layers += (_OpenNode() for _ in range(height + 1 - len(layers)))
        layers[height].add(key, value, _close(layers[:height], put))
        previous = key
    root = _close(layers, put)
    return root if root is not None else _put_node(Node(None, ()), put)


class _OpenNode:
    """A node of which more entries may come; one a height."""

    def __init__(self) -> None:
        self._left: Cid | None = None
        self._entries: list[Entry] = []

    def add(self, key: bytes, value: Cid, before: Cid | None) -> None:
        """An entry, and the subtree of the keys between it and the entry before."""
        self._hang(before)
        self._entries.append(Entry(key, value, None))

    def close(self, last: Cid | None, put: PutNode) -> Cid | None:
        """Write the node, `last` being the subtree after all of its entries, and begin anew. None if it is empty."""
        self._hang(last)
        node = Node(self._left, tuple(self._entries))
        self._left, self._entries = None, []
        return None if node == Node(None, ()) else _put_node(node, put)

    def _hang(self, subtree: Cid | None) -> None:
        if subtree is None:
            return
        if self._entries:
            self._entries[-1] = self._entries[-1]._replace(right=subtree)
        else:
            self._left = subtree


def _close(layers: Iterable[_OpenNode], put: PutNode) -> Cid | None:
    """Close these nodes, the lowest first, each the last subtree of the next: the CID of the highest, if any."""
    subtree = None
    for layer in layers:
        subtree = layer.close(subtree, put)
    return subtree


def _put_node(node: Node, put: PutNode) -> Cid:
    data = encode_node(node)
    cid = cid_of(data)
    put(cid, data)
    return cid


def _is_higher(left: _Subtree, right: _Subtree) -> bool:
    """Whether to open `left` first: equal subtrees meet only if the higher one is always opened first."""
    return left.height is None or (right.height is not None and left.height >= right.height)


def _replace_by_parts(pending: list[_Subtree | Entry], load: LoadBlock) -> None:
    part = pending.pop()
    assert type(part) is _Subtree  # noqa: S101 - for the type checker
    node, height = _open(part, load)
    pending += reversed(list(_parts(node, height, part)))


def _parts(node: NodeParts, height: int, place: _Subtree) -> Iterator[_Subtree | Entry]:
    """A node's entries, and the subtrees around them, in key order."""
    lower, child = place.lower, node.left
    for key, value, right in zip(node.keys, node.values, node.rights, strict=True):
        if child:
            yield _Subtree(child, height - 1, lower, key)
        yield Entry(key, Cid(value), Cid(right) if right else None)
        lower, child = key, right
    if child:
        yield _Subtree(child, height - 1, lower, place.upper)


def _open(place: _Subtree, load: LoadBlock) -> tuple[NodeParts, int]:
    """The node that hangs there, and its height. Raises MstError unless it belongs exactly there."""
    cid, height, lower, upper = place
    data = load(cid)
    try:
        node = read_node(data)
    except IntegrityError as error:
        raise MstError(error.detail, code=error.code, node=cid) from None
    left, keys, _, rights = node
    if height is None:
        if not keys and left is not None:
            raise MstError("the tree's root node holds no entry", node=cid)
        height = key_height(keys[0]) if keys else 0
    elif not keys:
        if left is None:
            raise MstError("a node that is not the root is empty", node=cid)
    elif keys[0] <= lower:
        raise MstError(f"keys out of order: {shown(keys[0])} after {shown(lower)}", node=cid)
    elif upper is not None and keys[-1] >= upper:
        raise MstError(f"keys out of order: {shown(upper)} after {shown(keys[-1])}", node=cid)
    for key in keys:
        # the first byte tells almost always, and saves a call for each key
        if ZERO_PAIRS[sha256(key).digest()[0]] != height and key_height(key) != height:
            raise MstError(f"the key {shown(key)} stands at height {height}, where it does not belong", node=cid)
    if height == 0 and (left is not None or any(rights)):
        raise MstError("a node hangs below height 0", node=left or next(filter(None, rights)))
    return node, height
