"""The two servers of a migration: that they are there, are what they should be, tell the time, let the account in."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.preflight.clocks import Clocks
from eurosky_pipeline.preflight.findings import Finding, NotLookedAtError, Verdict
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import ServerDescription, describe_server, server_version
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.session import log_in

CLOCK_WARN_S = 30.0
CLOCK_NO_GO_S = 300.0
"""Beyond this, one server's proof for the other is not valid yet, or no more."""
_LONGEST_PACE_S = 5.0


@dataclass(slots=True)
class Server:
    """One of the two, and what has been found out of it so far.

    Attributes:
        client: None until the host was seen to be a Personal Data Server; with the account's session after a login.
    """

    side: Side
    url: str
    description: ServerDescription | None = None
    client: XrpcClient | None = None
    is_logged_in: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def asked(self, stop: threading.Event) -> XrpcClient:
        """Raises NotLookedAtError where there is no server to ask."""
        if self.client is None:
            raise NotLookedAtError(f"the {self.side} does not answer")
        return self.client.with_stop(stop)


def look_at_host(
    server: Server, other: Server, settings: Settings, http: httpx.Client, policy: HostPolicy, stop: threading.Event
) -> Finding:
    """Whether it may be asked, answers, and is a server of accounts; and another one than the other."""
    pace = HostPace(server.host, max_wait_s=min(settings.max_wait_s, _LONGEST_PACE_S))
    try:
        base_url = policy.check_reachable(server.url)
        client = XrpcClient(http, base_url, pace=pace, stop=stop, bypass=settings.bypass_key(base_url))
        server.description = describe_server(client)
    except EuroskyError as error:
        hint = error.hint or f"is {server.host} really a Personal Data Server? Check its address"
        reason = f"{error.message} [{error.code}]"
        return Finding(str(server.side), Verdict.NO_GO, server.url, "a PDS", reason=reason, what_to_do=hint)
    server.client = client
    version = None
    with suppress(EuroskyError):
        version = server_version(client)
    found = f"{server.url}, {server.description.did}, {f'version {version}' if version else 'version not told'}"
    if other.description is not None and other.description.did == server.description.did:
        return Finding(
            str(server.side),
            Verdict.NO_GO,
            found,
            "another server than the source",
            reason=f"{server.url} and {other.url} are the same server [same_host]",
            what_to_do="cancel the migration, and add it again with two servers",
        )
    return Finding(str(server.side), Verdict.GO, found, "a PDS")


def look_at_clock(server: Server, clocks: Clocks, stop: threading.Event) -> Finding:
    """How far its clock is from ours."""
    server.asked(stop)
    name, needed = f"{server.side} clock", f"within {CLOCK_WARN_S:.0f} s of ours"
    ahead_s = clocks.ahead_s(server.host)
    if ahead_s is None:
        return Finding(
            name, Verdict.UNKNOWN, "not told", needed, reason=f"{server.host} sends no Date that can be read"
        )
    far = abs(ahead_s)
    verdict = Verdict.GO if far <= CLOCK_WARN_S else Verdict.WARN if far <= CLOCK_NO_GO_S else Verdict.NO_GO
    found = f"{far:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours" if far >= 2 else "as ours"
    if verdict is Verdict.GO:
        return Finding(name, verdict, found, needed)
    return Finding(
        name,
        verdict,
        found,
        needed,
        reason="tokens that one server makes for the other may count as expired, or as not valid yet",
        what_to_do="if both servers differ alike it is this machine's clock: set it (`timedatectl`); else tell the "
        "server's operator",
    )


def look_at_login(server: Server, registry: Registry, migration: Migration, stop: threading.Event) -> Finding:
    """Log in with the password that was given; the source needs none. Costs the account one of its logins a day.

    Raises: EuroskyError: the password has expired, or cannot be decrypted; the host refuses it.
    """
    client, name = server.asked(stop), f"{server.side} login"
    password = registry.password(migration.token, server.side)
    if password is None and server.side is Side.SOURCE:
        return Finding(name, Verdict.GO, "no password given: asked as the public asks")
    if password is None:
        return Finding(
            name,
            Verdict.NO_GO,
            "no password given",
            "the account's main password",
            reason=f"no destination password is stored for {migration.token} [credentials_missing]",
            what_to_do=f"`eurosky migrations retry {migration.token} --destination-password-env VAR` gives it",
        )
    server.client = client.with_authorization(log_in(client, migration.did, password))
    server.is_logged_in = True
    return Finding(name, Verdict.GO, "accepted")
