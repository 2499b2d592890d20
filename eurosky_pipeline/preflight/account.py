"""The account on both sides, as its servers and the world see it."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.identity.account import check_account
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.preflight.findings import Finding, NotLookedAtError, Verdict
from eurosky_pipeline.preflight.servers import Server
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.xrpc.client import UploadBody
from eurosky_pipeline.xrpc.endpoints import (
    CAR_MIME_TYPE,
    AccountStatus,
    RepoStatus,
    check_account_status,
    get_latest_commit,
    get_repo_status,
    import_repo,
)
from eurosky_pipeline.xrpc.errors import RequestRefused, ServerFault

_NO_CAR = b"no CAR: this asks only whether imports are accepted"
"""Its first byte announces a longer header than follows: nobody can take it for a repository."""


def look_at_source_account(server: Server, migration: Migration, stop: threading.Event) -> Finding:
    """Whether the source gives the repository out: to the public, or to the account."""
    client, name = server.asked(stop), "source account"
    needed = "active, or its password given"
    try:
        told = get_repo_status(client, migration.did)
    except PermanentError:  # older servers do not know the question
        get_latest_commit(client, migration.did)
        return Finding(name, Verdict.GO, "gives out its repository", needed)
    state = "active" if told.is_active else told.status or "not active"
    if told.is_active:
        return Finding(name, Verdict.GO, state, needed)
    if server.is_logged_in and told.status == "deactivated":
        return Finding(name, Verdict.GO, f"{state}, and read with its password", needed)
    return _withheld(name, state, needed, told, migration.token, is_logged_in=server.is_logged_in)


def _withheld(name: str, state: str, needed: str, told: RepoStatus, token: str, *, is_logged_in: bool) -> Finding:
    if is_logged_in:
        return Finding(
            name,
            Verdict.WARN,
            state,
            needed,
            reason="the host may keep the repository back even from the account itself",
            what_to_do="ask the source's operator, whose moderators have to lift this",
        )
    own = f"`eurosky migrations retry {token} --source-password-env VAR` gives its password"
    return Finding(
        name,
        Verdict.NO_GO,
        state,
        needed,
        reason="the source does not give the repository out to the public",
        what_to_do=own if told.status == "deactivated" else f"ask the source's operator; {own}",
    )


def look_at_identity(migration: Migration, directory: Directory) -> Finding:
    """The DID document's server and handle, against the migration's: the hosts given are used, so that differences are
    warnings. Raises: HandleMismatchError: the handle is another account's; FatalError: there is no such DID."""
    found = check_account(directory, did=migration.did, handle=migration.handle, source_pds=migration.source_pds)
    if found.document is None:
        return Finding("identity", Verdict.UNKNOWN, "", reason="; ".join(found.warnings), what_to_do="try again")
    told = f"handle {found.document.handle or 'none'}, server {found.document.pds_url or 'none'}"
    needed = f"{f'handle {migration.handle}, ' if migration.handle else ''}server {migration.source_pds}"
    if not found.warnings:
        return Finding("identity", Verdict.GO, told, needed)
    return Finding(
        "identity",
        Verdict.WARN,
        told,
        needed,
        reason="; ".join(found.warnings),
        what_to_do="make sure that this is the account, and the source the server that holds it; the migration goes by "
        "the DID and the servers given",
    )


def look_at_destination_account(server: Server, migration: Migration, stop: threading.Event) -> Finding:
    """Whether it is safe to import into: deactivated, or allowed to be active."""
    status, name = _status(server, stop), "destination account"
    needed = "active allowed" if migration.is_active_destination_allowed else "deactivated"
    state = "active" if status.is_activated else "deactivated"
    found = f"{state}, {status.indexed_records} records, {status.imported_blobs} of {status.expected_blobs} blobs"
    if status.is_activated and not migration.is_active_destination_allowed:
        return Finding(
            name,
            Verdict.NO_GO,
            found,
            needed,
            reason="an import deletes what was written there [destination_active]",
            what_to_do="deactivate it there; or add the migration again with --allow-active-destination",
        )
    if status.is_activated or (status.indexed_records and migration.state is State.PENDING_REPO):
        return Finding(
            name,
            Verdict.WARN,
            found,
            needed,
            reason="an import deletes the records there that the source lacks",
            what_to_do="make sure that nothing there is worth keeping",
        )
    return Finding(name, Verdict.GO, found, needed)


def look_at_imports(server: Server, stop: threading.Event) -> Finding:
    """Whether the destination accepts repositories, asked with a few bytes that are none: a host that does refuses them
    for what they are, one that does not before it has looked at them. An active account is not asked with anything."""
    name, needed = "imports", "accepted"
    if _status(server, stop).is_activated:
        raise NotLookedAtError("the account is active")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "no.car"
        path.write_bytes(_NO_CAR)
        try:
            import_repo(server.asked(stop), UploadBody(path, len(_NO_CAR), CAR_MIME_TYPE))
        except (RequestRefused, ServerFault) as error:
            if error.code != "imports_closed" and not _is_foreign(error):
                return Finding(name, Verdict.GO, "accepted; up to which size is not told", needed)
            return Finding(
                name,
                Verdict.NO_GO,
                "not accepted",
                needed,
                reason=f"{error.message} [{error.code}]",
                what_to_do=error.hint,
            )
    return Finding(
        name,
        Verdict.WARN,
        "accepted, and so was what is no repository",
        needed,
        reason="the server does not look at what it is given",
        what_to_do="nothing: each import is read back and compared",
    )


def _is_foreign(error: RequestRefused | ServerFault) -> bool:
    return error.code in {"not_a_pds", "redirected", "import_too_large", "content_type_refused"}


def _status(server: Server, stop: threading.Event) -> AccountStatus:
    client = server.asked(stop)
    if not server.is_logged_in:
        raise NotLookedAtError(f"nobody is logged in at the {server.side}")
    return check_account_status(client)
