"""What a repository holds, in numbers; finding out verifies it whole on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.repo import RepoFile


@dataclass(frozen=True, slots=True)
class RepoSummary:
    """Counts of one repository. Blob counts are of references, `distinct_blobs` of CIDs in either form."""

    did: str
    rev: str
    version: int
    root: Cid
    records: int
    records_by_collection: dict[str, int]
    current_blob_refs: int
    legacy_blob_refs: int
    distinct_blobs: int
    blocks: int
    orphan_blocks: int
    duplicate_blocks: int


def summarize(repo: RepoFile) -> RepoSummary:
    """Read every record. Raises what `RepoFile.records` raises where the repository is not whole."""
    collections: Counter[str] = Counter()
    current = legacy = 0
    blobs: set[Cid] = set()
    for record in repo.records():
        collections[record.collection] += 1
        for ref in find_blob_refs(record.value):
            blobs.add(ref.blob_cid)
            current += not ref.is_legacy
            legacy += ref.is_legacy
    return RepoSummary(
        did=repo.commit.did,
        rev=repo.commit.rev,
        version=repo.commit.version,
        root=repo.root,
        records=collections.total(),
        records_by_collection=dict(sorted(collections.items())),
        current_blob_refs=current,
        legacy_blob_refs=legacy,
        distinct_blobs=len(blobs),
        blocks=repo.block_count,
        orphan_blocks=repo.orphan_count(),
        duplicate_blocks=repo.duplicate_count,
    )
