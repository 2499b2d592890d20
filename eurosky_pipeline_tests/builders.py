"""Records, trees, repositories and CAR files for tests, made with the project's own writer.

Everything here is deterministic: the same arguments give the same bytes. What a test wants broken, it breaks itself.
"""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eurosky_pipeline.atproto import dag_cbor, mst
from eurosky_pipeline.atproto.car import write_car
from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.atproto.commit import VOID_SIGNATURE, Commit, encode_commit
from eurosky_pipeline.atproto.syntax import tid_of

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:7iza6de2dwap2sbkpav7c6c6"
REV = "3jzfcijpj2z2a"

Block = tuple[Cid, bytes]


@dataclass(frozen=True, slots=True)
class BuiltRepo:
    """A repository, block by block. `nodes` are the tree's, children first; `records` maps each key to its block."""

    commit: Block
    nodes: tuple[Block, ...]
    records: dict[str, Block]

    @property
    def root(self) -> Cid:
        return self.commit[0]

    @property
    def blocks(self) -> list[Block]:
        """The commit, the tree, the records: each distinct block once, in the order that a PDS sends them."""
        return list(dict([self.commit, *reversed(self.nodes), *self.records.values()]).items())


def make_post(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A post record; `fields` are added to it."""
    return {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2024-01-01T00:00:00Z", **fields}


def make_posts(count: int) -> dict[str, dict[str, Any]]:
    """`count` different posts by key, in key order."""
    return {f"app.bsky.feed.post/{tid_of(1_700_000_000_000_000 + n)}": make_post(f"post {n}") for n in range(count)}


def make_blob_ref(data: bytes = b"a picture", mime_type: str = "image/png") -> dict[str, Any]:
    """The current form of a reference to the blob of these bytes."""
    return {"$type": "blob", "ref": cid_of(data, CODEC_RAW), "mimeType": mime_type, "size": len(data)}


def make_legacy_blob_ref(data: bytes = b"a picture", mime_type: str = "image/jpeg") -> dict[str, Any]:
    """The form from before 2023: the CID as text, and no size."""
    return {"cid": str(cid_of(data, CODEC_RAW)), "mimeType": mime_type}


def make_strong_ref(key: str, cid: Cid, *, did: str = DID) -> dict[str, Any]:
    """What a like, a repost, a reply or a quote says of the record that it is about."""
    return {"uri": f"at://{did}/{key}", "cid": str(cid)}


def make_repo(
    records: Mapping[str, Any], *, did: str = DID, rev: str = REV, prev: Cid | None = None, sig: bytes = VOID_SIGNATURE
) -> BuiltRepo:
    """A whole repository of `records` (value by key), under a commit of version 3."""
    built = {key: make_block(value) for key, value in records.items()}
    nodes: dict[Cid, bytes] = {}
    tree = mst.build(((key.encode(), cid) for key, (cid, _) in built.items()), nodes.__setitem__)
    commit = encode_commit(Commit(did, 3, tree, rev, prev, sig))
    return BuiltRepo((cid_of(commit), commit), tuple(nodes.items()), built)


def make_block(value: Any) -> Block:
    """A value's DAG-CBOR block, with its CID."""
    data = dag_cbor.encode(value)
    return cid_of(data), data


def make_car(root: Cid, blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A CAR file of these blocks as they are: right or wrong, whole or not, in this order."""
    stream = io.BytesIO()
    write_car(stream, root, blocks)
    return stream.getvalue()


def make_repo_car(
    records: Mapping[str, Any], *, did: str = DID, rev: str = REV, orphans: Iterable[Any] = (), duplicates: int = 0
) -> bytes:
    """A repository's CAR file.

    Args:
        records: value by key, such as `make_posts(3)`.
        orphans: values whose blocks stand in the file although nothing leads to them, as in old exports.
        duplicates: how many of the first blocks are repeated at the end.
    """
    repo = make_repo(records, did=did, rev=rev)
    blocks = [*repo.blocks, *map(make_block, orphans)]
    return make_car(repo.root, blocks + blocks[:duplicates])


def keys_at_height(height: int) -> Iterator[bytes]:
    """Keys that live at this height of the tree, rising, without end. One key in 4 ** height gets that high."""
    candidates = (f"app.bsky.feed.post/{tid_of(1_700_000_000_000_000 + n)}".encode() for n in itertools.count())
    return (key for key in candidates if mst.key_height(key) == height)
