"""All that can be known of a migration before anything moves, one finding after another.

Nothing is changed: no state, no file that stays, nothing at either server but the logins that it costs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx

from eurosky_pipeline.preflight.account import (
    look_at_destination_account,
    look_at_identity,
    look_at_imports,
    look_at_source_account,
)
from eurosky_pipeline.preflight.clocks import Clocks
from eurosky_pipeline.preflight.content import SAMPLE_WORKERS, BlobSizes, RepoSize, look_at_blobs, look_at_repo
from eurosky_pipeline.preflight.findings import Check, Finding, Verdict, made
from eurosky_pipeline.preflight.room import look_at_disk, look_at_quota, look_at_upload_size
from eurosky_pipeline.preflight.servers import Server, look_at_clock, look_at_host, look_at_login
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.directory import directory_for
from eurosky_pipeline.sandbox.state import allowed_addresses
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.client import new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy

CHECK_TIMEOUT_S = 30.0
ALL_TIMEOUT_S = 120.0
_SERVERS = frozenset(map(str, Side))


def check_migration(
    settings: Settings,
    registry: Registry,
    migration: Migration,
    *,
    report: Callable[[str], None] = lambda _: None,
    check_timeout_s: float = CHECK_TIMEOUT_S,
    all_timeout_s: float = ALL_TIMEOUT_S,
) -> Iterator[Finding]:
    """Look at both servers, the account and this machine; a finding for each check, in the order of the table.

    Args:
        report: told the name of each check before it is made.
        check_timeout_s, all_timeout_s: what is not known by then is `unknown`; a server that has not answered, `no-go`.

    Raises: SettingsError: the sandbox's state cannot be read, or the environment names a proxy that cannot be used.
    """
    deadline_s = time.monotonic() + all_timeout_s
    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    with new_http_client(SAMPLE_WORKERS, policy) as http:
        for name, check in _checks(settings, registry, migration, http, policy):
            report(name)
            finding = made(name, check, timeout_s=min(check_timeout_s, deadline_s - time.monotonic()))
            if name in _SERVERS and finding.verdict is Verdict.UNKNOWN:  # there is nothing to move with
                finding = replace(finding, verdict=Verdict.NO_GO)
            yield finding


def look_at_state(migration: Migration) -> Finding:
    """Where the migration stands, and whether a run works on it just now."""
    state, until = str(migration.state), migration.lease_expires_at
    if until is not None and until > datetime.now(UTC):
        return Finding(
            "migration",
            Verdict.WARN,
            state,
            reason=f"run {migration.lease_holder} works on it: what follows is changing",
            what_to_do="look again when it has ended",
        )
    if migration.state in {State.CANCELLED, State.COMPLETED}:
        again = f"`eurosky migrations retry {migration.token}` takes it up again"
        hint = again if migration.state is State.CANCELLED else "nothing: it is at its end"
        return Finding("migration", Verdict.NO_GO, state, reason="nothing will move", what_to_do=hint)
    if migration.state in {State.FAILED, State.WAITING}:
        return Finding(
            "migration",
            Verdict.WARN,
            state,
            reason=f"{migration.error_text} [{migration.error_code}]",
            what_to_do=f"once that is seen to, `eurosky migrate {migration.token}` goes on where it stopped",
        )
    return Finding("migration", Verdict.GO, state)


@dataclass(slots=True)
class _Facts:
    """What earlier checks have found out for later ones; None where they have not."""

    repo: RepoSize | None = None
    blobs: BlobSizes | None = None


def _checks(
    settings: Settings, registry: Registry, migration: Migration, http: httpx.Client, policy: HostPolicy
) -> list[tuple[str, Check]]:
    """Names and checks, in their order; the http client reports the clocks."""
    clocks, facts = Clocks(), _Facts()
    http.event_hooks = {"response": [clocks.hear]}
    source, destination = (
        Server(Side.SOURCE, migration.source_pds),
        Server(Side.DESTINATION, migration.destination_pds),
    )

    def identity(_: threading.Event) -> Finding:
        return look_at_identity(migration, directory_for(settings, http, policy, migration.source_pds))

    def repository(stop: threading.Event) -> Finding:
        finding, facts.repo = look_at_repo(source, migration, max_bytes=settings.max_repo_bytes, stop=stop)
        return finding

    def blobs(stop: threading.Event) -> Finding:
        limit = destination.description.blob_upload_limit_bytes if destination.description else None
        finding, facts.blobs = look_at_blobs(
            source, migration, upload_limit_bytes=limit, max_bytes=settings.max_blob_bytes, stop=stop
        )
        return finding

    return [
        ("migration", lambda _: look_at_state(migration)),
        ("source", lambda stop: look_at_host(source, destination, settings, http, policy, stop)),
        ("source clock", lambda stop: look_at_clock(source, clocks, stop)),
        ("source login", lambda stop: look_at_login(source, registry, migration, stop)),
        ("source account", lambda stop: look_at_source_account(source, migration, stop)),
        ("identity", identity),
        ("destination", lambda stop: look_at_host(destination, source, settings, http, policy, stop)),
        ("destination clock", lambda stop: look_at_clock(destination, clocks, stop)),
        ("destination login", lambda stop: look_at_login(destination, registry, migration, stop)),
        ("destination account", lambda stop: look_at_destination_account(destination, migration, stop)),
        ("imports", lambda stop: look_at_imports(destination, stop)),
        ("repository", repository),
        ("blobs", blobs),
        ("upload size", lambda _: look_at_upload_size(destination, facts.blobs)),
        ("upload quota", lambda _: look_at_quota(migration, facts.blobs, settings, registry)),
        ("disk", lambda _: look_at_disk(migration, facts.repo, facts.blobs, settings)),
    ]
