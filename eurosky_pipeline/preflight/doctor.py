"""What is wrong with this installation, one thing after another, Dagster left out.

Nothing is made or changed but, where artifacts are on S3, a file of its own that it deletes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health, Look, diagnosed
from eurosky_pipeline.preflight.environment import look_at_packages, look_at_variables
from eurosky_pipeline.preflight.events import look_at_events
from eurosky_pipeline.preflight.folders import look_at_artifacts, look_at_disk, look_at_home, look_at_intake
from eurosky_pipeline.preflight.network import look_at_directory, look_at_hosts, look_at_sandbox
from eurosky_pipeline.preflight.stores import Stored, look_at_database, look_at_key
from eurosky_pipeline.sandbox.state import allowed_addresses
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.xrpc.client import new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy

_CONNECTIONS = 8


def diagnose(
    look_at_dagster: Callable[[Settings], list[Diagnosis]], *, dagster_timeout_s: float
) -> Iterator[Diagnosis]:
    """Every row, those of a look as soon as it is over.

    Args:
        look_at_dagster: what knows Dagster, which this room does not.

    Without settings that can be read nothing else can be looked at but the packages.
    """
    yield from diagnosed("packages", lambda _: look_at_packages())
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Diagnosis("settings", Health.BAD, error.message, error.hint)
        return
    stored = Stored()
    looks: dict[str, Look] = {
        "settings": lambda _: look_at_variables(settings),
        "home": lambda _: look_at_home(settings),
        "database": lambda _: look_at_database(settings, stored),
        "key": lambda _: look_at_key(settings, stored),
        "events": lambda _: look_at_events(settings),
        "disk": lambda _: look_at_disk(settings),
        "artifacts": lambda _: look_at_artifacts(settings),
        "lists": lambda _: look_at_intake(settings),
        "sandbox": lambda _: look_at_sandbox(settings),
    }
    for name, look in looks.items():
        yield from diagnosed(name, look)
    yield from _of_network(settings, stored)
    yield from diagnosed("Dagster", lambda _: look_at_dagster(settings), timeout_s=dagster_timeout_s)


def _of_network(settings: Settings, stored: Stored) -> Iterator[Diagnosis]:
    try:
        policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
        http = new_http_client(_CONNECTIONS, policy)
    except SettingsError as error:  # the sandbox's file, or the environment's proxy
        yield Diagnosis("hosts", Health.BAD, f"{error.message} [{error.code}]", error.hint)
        return
    with http:
        yield from diagnosed("hosts", lambda stop: look_at_hosts(settings, stored, http, policy, stop))
        yield from diagnosed("PLC directory", lambda _: look_at_directory(settings, http, policy))
