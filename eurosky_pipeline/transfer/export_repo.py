"""The repository out of the source: streamed to disk, verified whole, and only then given its name."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX, disk_errors_named
from eurosky_pipeline.atproto.commit import Commit
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.atproto.summary import RepoSummary, summarize
from eurosky_pipeline.errors import FatalError, IntegrityError, StoppedError
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import get_repo


class RepoRejected(FatalError):
    """What the host sent is not this account's whole repository."""

    default_code = "repo_rejected"


@dataclass(frozen=True, slots=True)
class ExportedRepo:
    """A verified CAR on disk. `sha256` is of the file, in hex; who has signed `commit` has not been asked."""

    path: Path
    size_bytes: int
    sha256: str
    commit: Commit
    summary: RepoSummary


def export_repo(
    source: XrpcClient,
    did: str,
    target: Path,
    *,
    max_bytes: int,
    stop: threading.Event,
    on_bytes: Callable[[int], None] = lambda _: None,
    on_verified: Callable[[RepoSummary], None] = lambda _: None,
) -> ExportedRepo:
    """Stream `getRepo` to `target`, and check every block, the tree, every record, and whose repository it is.

    A file that fails a check never gets the name `target`, and does not stay.

    Args:
        max_bytes: a larger repository is cut off and refused.
        on_bytes: told of bytes as they arrive.
        on_verified: called when all checks have passed, right before the file gets its name: what was made from an
            earlier export has to go first, so that a run killed between the two leaves nothing stale.

    Raises:
        RepoRejected: truncated, malformed, larger than `max_bytes`, or another account's; says what and where.
        RepoUnavailable, TransientError: the host does not give it out, or cannot just now.
        FatalError: the disk is full.
    """
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    try:
        size_bytes, sha256 = download_repo(source, did, partial, max_bytes=max_bytes, stop=stop, on_bytes=on_bytes)
        commit, summary = _verified(partial, did, source.host)
        on_verified(summary)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return ExportedRepo(target, size_bytes, sha256, commit, summary)


def download_repo(
    client: XrpcClient,
    did: str,
    target: Path,
    *,
    max_bytes: int,
    stop: threading.Event,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> tuple[int, str]:
    """Stream a host's `getRepo` into a file and flush it to the disk: (bytes, SHA-256 in hex). Nothing is verified."""
    digest, size_bytes = hashlib.sha256(), 0
    with get_repo(client, did) as download, disk_errors_named(target), target.open("wb") as file:
        for chunk in _until_stopped(download.chunks, stop):
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise RepoRejected(
                    f"{client.host} sends a repository of more than {max_bytes} bytes for {did}",
                    code="repo_too_large",
                    hint="raise EUROSKY_MAX_REPO_BYTES if that is right",
                )
            digest.update(chunk)
            file.write(chunk)
            on_bytes(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    return size_bytes, digest.hexdigest()


def _verified(path: Path, did: str, host: str) -> tuple[Commit, RepoSummary]:
    try:
        with open_repo(path) as repo:
            if repo.commit.did != did:
                raise RepoRejected(
                    f"{host} sent the repository of {repo.commit.did} when asked for that of {did}",
                    code="foreign_repo",
                    hint="do not import it; tell the host's operator, or check the DID",
                )
            return repo.commit, summarize(repo)
    except IntegrityError as error:
        raise RepoRejected(
            f"{host} sent a repository for {did} that is not whole: {error.message}",
            code="repo_damaged",
            hint="run the migration again; if it says the same, the host's copy itself is damaged",
        ) from None


def _until_stopped(chunks: Iterator[bytes], stop: threading.Event) -> Iterator[bytes]:
    for chunk in chunks:
        if stop.is_set():
            raise StoppedError("the export was asked to stop")
        yield chunk
