"""The repository into the destination: guarded before, proved after.

importRepo is a diff that deletes what the CAR lacks, checks neither the commit's DID nor its signature, and its answer
proves nothing. So an active account is refused, and the destination's own `getRepo` is read back and compared, key by
key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.atproto.key_pairs import pair_keys
from eurosky_pipeline.atproto.repo import RepoFile, open_repo
from eurosky_pipeline.errors import FatalError, IntegrityError
from eurosky_pipeline.transfer.export_repo import RepoRejected, download_repo
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient
from eurosky_pipeline.xrpc.endpoints import CAR_MIME_TYPE, check_account_status, import_repo

_NAMED_DIFFERENCES = 5


class DestinationActiveError(FatalError):
    """The destination account is in use: an import would delete what was written there."""

    default_code = "destination_active"


class ImportNotProvedError(FatalError):
    """The destination does not hold what it was given."""

    default_code = "import_not_proved"


@dataclass(frozen=True, slots=True)
class ImportedRepo:
    """A repository that the destination was seen to hold. `is_skipped`: it already did before."""

    root: Cid
    is_skipped: bool
    records_proved: int
    size_bytes: int


def import_and_prove(
    destination: XrpcClient,
    did: str,
    car: Path,
    *,
    is_active_allowed: bool,
    max_bytes: int,
    stop: threading.Event,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> ImportedRepo:
    """Import the CAR unless the destination already stands at its root, then prove it.

    Args:
        destination: a client with the account's session.
        is_active_allowed: the migration says that an active destination may be overwritten.

    Raises:
        DestinationActiveError: nothing was sent.
        RepoRejected: the CAR is not one of `did`; nothing was sent.
        ImportNotProvedError: sent, and what the destination gives back differs.
    """
    partial = car.with_name("destination.car" + PARTIAL_SUFFIX)
    with open_repo(car) as repo:
        if repo.commit.did != did:
            raise RepoRejected(
                f"{car.name} is the repository of {repo.commit.did}, not of {did}",
                code="foreign_repo",
                hint="do not import it; export it again",
            )
        is_skipped = _guard(destination, did, repo.root, is_active_allowed=is_active_allowed)
        if not is_skipped:
            import_repo(destination, UploadBody(car, repo.size_bytes, CAR_MIME_TYPE, on_bytes))
        try:
            download_repo(destination, did, partial, max_bytes=max_bytes, stop=stop)
            records_proved = _prove(repo, partial, destination.host)
        finally:
            partial.unlink(missing_ok=True)
        return ImportedRepo(repo.root, is_skipped, records_proved, repo.size_bytes)


def _guard(destination: XrpcClient, did: str, root: Cid, *, is_active_allowed: bool) -> bool:
    """Whether the import can be skipped. Raises DestinationActiveError."""
    status = check_account_status(destination)
    if status.repo_commit == root:
        return True
    if status.is_activated and not is_active_allowed:
        raise DestinationActiveError(
            f"{did} is active on {destination.host}: an import there deletes every record that the CAR lacks",
            hint="deactivate it there first, or add the migration with --allow-active-destination if that is meant",
        )
    return False


def _prove(sent: RepoFile, returned: Path, host: str) -> int:
    """Compare every key and CID; the returned file's blocks are all hashed while it is opened."""
    try:
        with open_repo(returned) as repo:
            if repo.commit.did != sent.commit.did:
                raise ImportNotProvedError(
                    f"{host} gives back the repository of {repo.commit.did}",
                    code="foreign_repo",
                    hint="look at that account before anything else; tell the host's operator",
                )
            count, differing = 0, []
            for pair in pair_keys(sent.keys(), repo.keys()):
                count += 1
                if not pair.is_equal:
                    differing.append(pair.key)
    except IntegrityError as error:
        raise ImportNotProvedError(
            f"{host} gives back a repository that is not whole: {error.message}",
            hint="the destination has lost a part of it, and importing the same again does not mend that: have the "
            "account deleted there and created anew, deactivated; then run the migration again",
        ) from None
    if differing:
        raise ImportNotProvedError(
            f"{host} gives back {len(differing)} of {count} records that are not as imported: "
            + ", ".join(differing[:_NAMED_DIFFERENCES]),
            hint="run the migration again; if it stays so, the destination changes records on import",
        )
    return count
