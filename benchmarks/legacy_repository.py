"""A large repository with a past: legacy blob references, and a life of the account's own that hangs on them.

Posts with pictures in the legacy form (one or several, beside ones in the current form, under a quote, or as a link's
preview), a profile and other apps' records with them, and what only looks like one. Threads of the account's own,
several replies deep, with both their root and their parent; quotes, likes and reposts of its own posts, by preference
of those with legacy references; references to versions that are gone. The legacy records are spread over the whole
life, not its beginning only as in an honest account: that is the harder case, as most of the tree's paths change.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.block_spool import BlockSpool
from benchmarks.chance import Chance
from benchmarks.life import PROFILE_KEY, Life
from benchmarks.repository import add_commit
from eurosky_pipeline.atproto import mst
from eurosky_pipeline.atproto.cid import Cid

LEGACY_SHARE = 0.003
_OLD_TREE_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Written:
    """What has been written.

    Attributes:
        records: keys of the tree; blocks: distinct ones, orphans included.
        legacy_records: keys whose records hold legacy references.
        blob_sizes: in bytes, of the blobs in the legacy form; of those that a current reference tells too, half are
            missing here, and of the others one in fifty.
    """

    records: int
    blocks: int
    legacy_records: int
    blob_sizes: dict[Cid, int]

    def save_sizes(self, path: Path) -> None:
        """Write them as `eurosky car convert --blob-sizes` reads them."""
        path.write_text(json.dumps({str(cid): size_bytes for cid, size_bytes in self.blob_sizes.items()}))


def write_legacy_repository(
    path: Path,
    record_count: int,
    *,
    legacy_share: float = LEGACY_SHARE,
    imported_share: float = 1.0,
    orphan_share: float = 0.0,
    duplicates: int = 0,
    seed: int = 1,
) -> Written:
    """Write the repository; the same arguments give the same bytes. Memory: about 200 bytes a record.

    Args:
        record_count: at least 1; the last one is the profile.
        legacy_share: of records with legacy blob references, at least one unless it is 0.
        imported_share: of records that came by an import, in one revision; each later one has a revision of its own,
            with the nodes that changed with it.
        orphan_share: of further records that were deleted since, in relation to `record_count`, with nodes of an old
            tree.
        duplicates: blocks that stand in the file twice.
    """
    chance = Chance(seed)
    is_legacy = bytearray(record_count)
    if legacy_share:
        for number in chance.sample(range(record_count - 1), min(record_count - 1, round(record_count * legacy_share))):
            is_legacy[number] = True
    orphan_numbers = set(chance.sample(range(record_count), round(record_count * orphan_share)))
    with BlockSpool(path.parent) as spool:
        life = Life(chance, spool, newest=record_count - 1, imported=round(record_count * imported_share))
        for number in range(record_count - 1):
            life.live(number, has_legacy=bool(is_legacy[number]))
            if number in orphan_numbers:
                life.delete_one(has_legacy=chance.random() < legacy_share)
        life.finish(has_legacy=legacy_share > 0)
        keys = life.keys
        if orphan_share:
            mst.build_sorted(islice(keys.entries(), _OLD_TREE_RECORDS), spool.add)
        put_node = spool.add if imported_share == 1.0 else _NodesWithRevisions(spool, life).add
        root = add_commit(spool, mst.build_sorted(keys.entries(), put_node), life.rev_of(PROFILE_KEY))
        spool.write(path, root, duplicates=duplicates, seed=seed)
        return Written(len(keys), len(spool), life.legacy_records, life.blobs.sizes)


class _NodesWithRevisions:
    """Gives each node the revision of the newest record under it; children have to come first."""

    def __init__(self, spool: BlockSpool, life: Life) -> None:
        self._spool = spool
        self._life = life
        self._revs: dict[bytes, int] = {}

    def add(self, cid: Cid, data: bytes) -> None:
        left, entries = mst.parse_node(data)
        below = [link for link in (left, *(entry.right for entry in entries)) if link is not None]
        rkeys = [entry.key.partition(b"/")[2].decode() for entry in entries]
        rev = max([*map(self._revs.pop, below), *map(self._life.rev_of, rkeys)])
        self._revs[cid] = rev
        self._spool.add(cid, data, rev)
