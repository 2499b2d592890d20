"""Where DIDs and handles are looked up: the real network, or a test network that keeps to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from eurosky_pipeline.xrpc.host_policy import HostPolicy

if TYPE_CHECKING:
    from dns.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Directory:
    """What a lookup needs; nothing is asked before one begins.

    Args:
        http: the shared client.
        policy: which hosts may be asked.
        plc_url: base URL of the directory that knows the `did:plc`.
        test_pds_urls: servers of a test network, asked in this order for handles below `.test`, which no DNS knows.
            Empty on the real network, where such handles do not exist.
        dns: asked for TXT records; None for the one that this machine is set up with.
    """

    http: httpx.Client
    policy: HostPolicy
    plc_url: str
    test_pds_urls: tuple[str, ...] = ()
    dns: Resolver | None = None
