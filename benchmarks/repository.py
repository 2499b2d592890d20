"""A large repository like a real one: likes, reposts, follows and posts, made with the project's own writer."""

from pathlib import Path
from typing import Any

from benchmarks.block_spool import BlockSpool
from benchmarks.chance import Chance
from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
REV = "3jzfcijpj2z2a"


def write_repository(path: Path, record_count: int, *, seed: int = 1) -> None:
    """Write the repository of `record_count` records; the same arguments give the same bytes.

    All that its records refer to is other people's. Blocks stand in no order, as in the exports of the reference PDS.
    """
    chance = Chance(seed)
    entries: list[tuple[bytes, Cid]] = []
    with BlockSpool(path.parent) as spool:
        for number in range(record_count):
            collection = chance.collection()
            cid, _ = spool.add_value(_record(chance, collection))
            entries.append((f"{collection}/{chance.rkey(number)}".encode(), cid))
        tree = mst.build(entries, spool.add)
        spool.write(path, add_commit(spool, tree, rev=1))


def add_commit(spool: BlockSpool, tree: Cid, rev: int) -> Cid:
    """Put the commit upon the tree, in the revision that sorts by `rev`. Returns: its CID."""
    commit = encode_commit(Commit(DID, 3, tree, REV, None, VOID_SIGNATURE))
    cid = cid_of(commit)
    spool.add(cid, commit, rev)
    return cid


def _record(chance: Chance, collection: str) -> dict[str, Any]:
    record: dict[str, Any] = {"$type": collection, "createdAt": chance.date()}
    if collection == "app.bsky.feed.post":
        return record | chance.post()
    return record | {"subject": chance.did() if collection == "app.bsky.graph.follow" else chance.strong_ref()}
