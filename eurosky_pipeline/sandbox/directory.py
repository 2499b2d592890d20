"""Which network knows an account: the sandbox's accounts are known to the sandbox alone."""

from __future__ import annotations

import httpx

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.sandbox.state import is_running, load_state
from eurosky_pipeline.settings import DEFAULT_PLC_URL, Settings
from eurosky_pipeline.xrpc.host_policy import HostPolicy


def directory_for(settings: Settings, http: httpx.Client, policy: HostPolicy, pds_url: str | None) -> Directory:
    """Where the accounts of the server at `pds_url` are looked up; None for the real network.

    `EUROSKY_PLC_URL` stands in for the PLC directory of either. Where private hosts are allowed, the server is asked
    for handles below `.test`, as the sandbox's are.

    Raises:
        SettingsError: it is the sandbox's, and the sandbox is not running.
    """
    sandbox = load_state(settings.home)
    if sandbox and pds_url in {sandbox.source_pds, sandbox.destination_pds}:
        if not is_running(sandbox) and not settings.plc_url:
            raise SettingsError(
                f"{pds_url} is the sandbox's, and the sandbox is not running",
                code="sandbox_down",
                hint="`eurosky sandbox up` starts it",
            )
        # its own server first: the other one may know the account too
        servers = sorted((sandbox.source_pds, sandbox.destination_pds), key=lambda url: url != pds_url)
        return Directory(http, policy, settings.plc_url or sandbox.plc_url, tuple(servers))
    test_servers = (pds_url,) if pds_url and settings.is_private_hosts_allowed else ()
    return Directory(http, policy, settings.plc_url or DEFAULT_PLC_URL, test_servers)
