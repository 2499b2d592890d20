"""Whether the account went on writing at the source after its repository was exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_latest_commit


@dataclass(frozen=True, slots=True)
class SourceMove:
    """`is_moved` is None where the source did not tell; `text` is one sentence for people."""

    is_moved: bool | None
    text: str


def look_for_source_move(source: XrpcClient, did: str, exported: Path) -> SourceMove:
    """The source's head now against the exported repository. Never raises for a source that cannot be asked.

    Args:
        exported: the CAR as it came from the source; a converted one has another root than any commit there.
    """
    with open_repo(exported) as repo:
        root, rev = repo.root, repo.commit.rev
    try:
        latest = get_latest_commit(source, did)
    except EuroskyError as error:
        return SourceMove(None, f"Whether the source has moved on since the export is not known: {error.message}")
    if latest.commit_cid == root:
        return SourceMove(is_moved=False, text=f"The source has not moved on since the export (rev {rev}).")
    return SourceMove(
        is_moved=True,
        text=f"The source has moved on since the export: its rev is {latest.rev}, and {rev} was exported. "
        "What was written since is not at the destination; migrate it again.",
    )
