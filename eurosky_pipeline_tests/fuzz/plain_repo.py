"""Is this a whole repository? Once more, recursively and in memory, on what `plain_cbor` reads."""

from eurosky_pipeline_tests import plain_cbor
from eurosky_pipeline_tests.fuzz import plain_syntax
from eurosky_pipeline_tests.plain_cbor import NotCanonical

Blocks = dict[bytes, bytes]


def records_of(root: bytes, blocks: Blocks) -> dict[str, object]:
    """Every record, decoded, by its key. Raises NotCanonical if anything at all is missing or wrong."""
    if root not in blocks:
        raise NotCanonical("no commit")
    found: dict[str, object] = {}
    for key, cid in _entries(_tree_of(blocks[root]), blocks):
        path = key.decode()
        if not plain_syntax.is_repo_path(path) or cid not in blocks:
            raise NotCanonical("no path, or no record")
        found[path] = plain_cbor.read(blocks[cid])
        if type(found[path]) is not dict:
            raise NotCanonical("no map")
    return found


def _tree_of(commit: bytes) -> bytes:
    value = plain_cbor.read(commit)
    if type(value) is not dict or not {"did", "version", "data", "sig"} <= set(value):
        raise NotCanonical("no commit")
    if not set(value) <= {"did", "version", "data", "sig", "rev", "prev"}:
        raise NotCanonical("a foreign field")
    version, tree, prev = value["version"], value["data"], value.get("prev")
    if (
        type(value["did"]) is not str
        or not plain_syntax.is_account_did(value["did"])
        or type(value["sig"]) is not bytes
    ):
        raise NotCanonical("no did, or no signature")
    if type(version) is not int or not (version == 2 or (version == 3 and {"rev", "prev"} <= set(value))):
        raise NotCanonical("no version that is known")
    if "rev" in value and not (type(value["rev"]) is str and plain_syntax.is_tid(value["rev"])):
        raise NotCanonical("no rev")
    for link in (tree, *([] if prev is None else [prev])):
        if type(link) is not plain_cbor.Link or link[1] != 0x71:
            raise NotCanonical("no link")
    return bytes(tree)


def _entries(root: bytes, blocks: Blocks) -> list[tuple[bytes, bytes]]:
    left, entries = _node(root, blocks)
    if entries:
        return _subtree(root, plain_cbor.height_of(entries[0][0]), blocks)
    if left is not None:
        raise NotCanonical("a root without entries")
    return []


def _subtree(cid: bytes, height: int, blocks: Blocks) -> list[tuple[bytes, bytes]]:
    """Its keys must rise over the whole tree; that they do is looked at by each node above."""
    left, entries = _node(cid, blocks)
    if height < 0 or (left is None and not entries):
        raise NotCanonical("a node too low, or an empty one")
    found = [] if left is None else _subtree(left, height - 1, blocks)
    for key, value, right in entries:
        if plain_cbor.height_of(key) != height:
            raise NotCanonical("a key at the wrong height")
        found.append((key, value))
        found += [] if right is None else _subtree(right, height - 1, blocks)
    keys = [key for key, _ in found]
    if keys != sorted(set(keys)):
        raise NotCanonical("keys out of order")
    return found


def _node(cid: bytes, blocks: Blocks) -> tuple[bytes | None, plain_cbor.Entries]:
    if cid not in blocks:
        raise NotCanonical("a missing node")
    return plain_cbor.read_node(blocks[cid])
