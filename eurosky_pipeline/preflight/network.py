"""Who has to answer: the servers of active migrations, the PLC directory, the sandbox."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.identity.fetch import fetch
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.preflight.stores import Stored
from eurosky_pipeline.sandbox.state import is_running, load_state
from eurosky_pipeline.settings import DEFAULT_PLC_URL, Settings
from eurosky_pipeline.xrpc.client import XrpcClient
from eurosky_pipeline.xrpc.endpoints import describe_server
from eurosky_pipeline.xrpc.host_policy import HostPolicy

MAX_HOSTS = 20
_WORKERS = 8
_MAX_HEALTH_BYTES = 64 * 1024
_DIRECTORY_HINT = (
    "check this machine's network, and EUROSKY_PLC_URL; meanwhile accounts outside the sandbox cannot be looked up, "
    "and migrations go on with a warning"
)


def look_at_hosts(
    settings: Settings, stored: Stored, http: httpx.Client, policy: HostPolicy, stop: threading.Event
) -> list[Diagnosis]:
    """Whether each server of an active migration may be asked, and answers as one; the first `MAX_HOSTS` of them."""
    if stored.hosts is None:
        return [Diagnosis("hosts", Health.WARN, "not known: the registry could not be read", "see to the database")]
    if not stored.hosts:
        return [Diagnosis("hosts", Health.OK, "no migration is active")]

    def look(url: str) -> Diagnosis:
        try:
            base_url = policy.check_reachable(url)
            client = XrpcClient(http, base_url, stop=stop, bypass=settings.bypass_key(base_url))
            described = describe_server(client)
        except EuroskyError as error:
            hint = error.hint or "see whether it is up, and really a Personal Data Server"
            return Diagnosis("hosts", Health.BAD, f"{url}: {error.message} [{error.code}]", hint)
        return Diagnosis("hosts", Health.OK, f"{url} answers as {described.did[:100]}")

    with ThreadPoolExecutor(_WORKERS) as pool:
        rows = list(pool.map(look, stored.hosts[:MAX_HOSTS]))
    if len(stored.hosts) > MAX_HOSTS:
        rows.append(Diagnosis("hosts", Health.OK, f"and {len(stored.hosts) - MAX_HOSTS} more, which were not asked"))
    return rows


def look_at_directory(settings: Settings, http: httpx.Client, policy: HostPolicy) -> list[Diagnosis]:
    """Whether the PLC directory that accounts are looked up in answers."""
    url = settings.plc_url or DEFAULT_PLC_URL
    try:
        base_url = policy.check_reachable(url)
        answer = fetch(http, f"{base_url}/_health", what="its health", max_bytes=_MAX_HEALTH_BYTES)
    except TransientError as error:
        return [Diagnosis("PLC directory", Health.WARN, f"{error.message} [{error.code}]", _DIRECTORY_HINT)]
    if answer.status == 200:
        return [Diagnosis("PLC directory", Health.OK, f"{url} answers")]
    return [Diagnosis("PLC directory", Health.WARN, f"{url} answers {answer.status}", _DIRECTORY_HINT)]


def look_at_sandbox(settings: Settings) -> list[Diagnosis]:
    """Whether there is one, and whether it runs: only then its addresses are excepted from the host policy."""
    state = load_state(settings.home)
    if state is None:
        return [Diagnosis("sandbox", Health.OK, "there is none")]
    if is_running(state):
        return [Diagnosis("sandbox", Health.OK, f"runs: {state.source_pds} → {state.destination_pds}")]
    return [Diagnosis("sandbox", Health.OK, "does not run; `eurosky sandbox up` starts it")]
