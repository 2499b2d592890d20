"""Hand the exported repository on, byte for byte, and count what a conversion would have to touch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.artifacts.workspace import link_or_copy
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.summary import RepoSummary, summarize


@dataclass(frozen=True, slots=True)
class ConvertedRepo:
    """The CAR to import, and what it holds."""

    path: Path
    size_bytes: int
    summary: RepoSummary


def pass_on(exported: Path, target: Path) -> ConvertedRepo:
    """Make `target` the same bytes as `exported`. Raises IntegrityError if the file was damaged since its export."""
    with open_repo(exported) as repo:
        summary = summarize(repo)
        size_bytes = repo.size_bytes
    link_or_copy(exported, target)
    return ConvertedRepo(target, size_bytes, summary)
