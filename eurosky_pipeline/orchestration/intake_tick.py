"""The intake, polled with what this machine knows: the sources that the settings name, and where accounts are looked
up. Made anew for each tick, and nothing is asked of the network unless an account comes without its DID."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings

if TYPE_CHECKING:
    import httpx

    from eurosky_pipeline.identity.directory import Directory
    from eurosky_pipeline.intake.polling import Polled
    from eurosky_pipeline.xrpc.host_policy import HostPolicy


def poll_intake(
    settings: Settings,
    registry: Registry,
    *,
    limit: int,
    cursors: Mapping[str, str],
    can_start: Callable[[Migration], bool] = lambda _: True,
) -> "Polled":
    """Poll the sources that EUROSKY_INTAKE_SOURCES names. Args, Returns, Raises: as of `intake.polling.poll`.

    Raises: SettingsError too, if the sandbox's state cannot be read.
    """
    from eurosky_pipeline.intake.lookup import Lookup
    from eurosky_pipeline.intake.polling import poll
    from eurosky_pipeline.plugins.manager import load_intake_sources
    from eurosky_pipeline.sandbox.state import allowed_addresses
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

    sources = load_intake_sources(settings.intake_sources)
    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    with _directories(settings, policy) as directory_of:
        return poll(
            registry,
            sources.made,
            missing=[f"{each.name}: {each}" for each in sources.missing],
            policy=policy,
            new_lookup=lambda: Lookup(directory_of, is_each_checked=False),
            limit=limit,
            cursors=cursors,
            can_start=can_start,
        )


@contextmanager
def _directories(settings: Settings, policy: "HostPolicy") -> "Iterator[Callable[[str], Directory]]":
    """Where the accounts of a source's URL are known; the client is made at the first question, by any thread."""
    from contextlib import ExitStack
    from threading import Lock

    clients: list[httpx.Client] = []
    lock = Lock()
    with ExitStack() as stack:

        def directory_of(url: str) -> "Directory":
            from eurosky_pipeline.intake.lookup import WORKERS
            from eurosky_pipeline.sandbox.directory import directory_for
            from eurosky_pipeline.xrpc.client import new_http_client

            with lock:
                if not clients:
                    clients.append(stack.enter_context(new_http_client(WORKERS, policy)))
            return directory_for(settings, clients[0], policy, url)

        yield directory_of
