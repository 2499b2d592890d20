"""The tree after its records have changed. Its shape stays: keys alone decide it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.mst import patch_node
from eurosky_pipeline.convert.fold import PutBlock


def patch_tree(
    path_nodes: dict[bytes, dict[int, bytes]],
    load: Callable[[bytes], bytes],
    changed: Mapping[bytes, bytes],
    put: PutBlock,
) -> dict[bytes, Cid]:
    """Rewrite the nodes on the paths to changed records.

    Args:
        path_nodes: as in `Reach`: the nodes that may have to change, each before those below it.
        changed: the new CID of each record that changed, by key.

    Returns: the new CID of each node that changed, by its old one.
    """
    moved: dict[bytes, Cid] = {}
    for cid in reversed(path_nodes):
        records = {place: changed[key] for place, key in path_nodes[cid].items() if key in changed}
        data = load(cid)
        patched = patch_node(data, records, moved)
        if patched != data:
            moved[cid] = cid_of(patched)
            put(moved[cid], patched)
    return moved
