"""Everything of one finished migration, deleted: its files first, then its rows, so that a crash leaves it to be done
again, and never a file that nobody knows of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.artifacts.disk import disk_errors_named
from eurosky_pipeline.artifacts.opening import open_store
from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV, REPORT_CSV, Workspace
from eurosky_pipeline.registry.purge import Purge
from eurosky_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Purged:
    """What went of one migration, or would go. `size_bytes` counts a file that has two names once."""

    token: str
    files: int
    size_bytes: int
    ledger_rows: int
    credentials: int


def purge_migration(
    purge: Purge,
    settings: Settings,
    token: str,
    *,
    is_forgetting: bool = False,
    before_rows: Callable[[], object] = lambda: None,
) -> Purged:
    """Delete CARs, manifest, report and scratch, the ledger and the passwords of one migration.

    Args:
        is_forgetting: as of `Purge.erase`.
        before_rows: what else has to be gone before the row says that all is; may be called again after a crash.

    Raises:
        ConflictError: it is not finished, or a run works on it.
        FatalError, TransientError: files cannot be deleted; the rows are still there.
    """
    with purge.held(token) as holder:
        removed = Workspace(settings.home, settings.resolved_artifacts, token).delete_all()
        before_rows()
        rows = purge.erase(token, holder, is_forgetting=is_forgetting)
    return Purged(token, len(removed.names), removed.size_bytes, rows.ledger_rows, rows.credentials)


def would_purge(purge: Purge, settings: Settings, token: str) -> Purged:
    """What `purge_migration` would delete; nothing is, and no folder is made. Raises as it does."""
    artifacts = settings.resolved_artifacts
    folders = [settings.home / "work" / token, *([artifacts / token] if isinstance(artifacts, Path) else [])]
    sizes: dict[object, int] = {}
    files = 0
    for folder in folders:
        with disk_errors_named(folder):
            for path in folder.rglob("*"):
                found = path.lstat()
                if path.is_symlink() or not path.is_dir():
                    files += 1
                    sizes[found.st_dev, found.st_ino] = found.st_size
    if not isinstance(artifacts, Path):
        store = open_store(artifacts, token)
        for name in (ACCOUNT_CAR, CONVERTED_CAR, MANIFEST_CSV, REPORT_CSV):
            if (stored := store.describe(name)) is not None:
                files += 1
                sizes[stored.uri] = stored.size_bytes
    rows = purge.count(token)
    return Purged(token, files, sum(sizes.values()), rows.ledger_rows, rows.credentials)
