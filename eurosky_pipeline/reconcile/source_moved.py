"""Whether the account went on writing at the source after its repository was exported."""

from __future__ import annotations

from pathlib import Path

from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_latest_commit


def describe_source_move(source: XrpcClient, did: str, exported: Path) -> str:
    """One sentence: the source's `rev` now against the exported one. Never raises for a source that cannot be asked."""
    with open_repo(exported) as repo:
        root, rev = repo.root, repo.commit.rev
    try:
        latest = get_latest_commit(source, did)
    except EuroskyError as error:
        return f"Whether the source has moved on since the export is not known: {error.message}"
    if latest.commit_cid == root:
        return f"The source has not moved on since the export (rev {rev})."
    return (
        f"⚠ The source has moved on since the export: rev {latest.rev}, exported was {rev}. Newer records are not here."
    )
