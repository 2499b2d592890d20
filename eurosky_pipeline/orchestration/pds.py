"""The two servers of a migration, as clients that a whole run shares."""

from urllib.parse import urlsplit

import httpx
from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from eurosky_pipeline.errors import FatalError, PermanentError, SettingsError, TransientError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.directory import directory_for
from eurosky_pipeline.sandbox.state import allowed_addresses
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.xrpc.bandwidth import Bandwidth
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import describe_server
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.session import log_in, log_in_when_asked


class PdsResource(ConfigurableResource["PdsResource"]):
    """Clients of the two servers of a migration, for the whole run: one connection pool, one login a side, one pace a
    host and one bandwidth for all."""

    _settings: Settings = PrivateAttr()
    _http: httpx.Client = PrivateAttr()
    _policy: HostPolicy = PrivateAttr()
    _bandwidth: Bandwidth | None = PrivateAttr(default=None)
    _clients: dict[tuple[str, Side], XrpcClient] = PrivateAttr(default_factory=dict)
    _paces: dict[str, HostPace] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._settings = load_settings()
        self._policy = HostPolicy(self._settings.is_private_hosts_allowed, allowed_addresses(self._settings.home))
        self._http = new_http_client(self._settings.parallel_blobs, self._policy)
        limit = self._settings.max_bytes_per_s
        self._bandwidth = None if limit is None else Bandwidth(limit)

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._http.close()

    def source(self, step: Step) -> XrpcClient:
        """The source. It is asked as the public asks; where that is refused, and the account's password was given, with
        the account's session from then on. Raises EuroskyError."""
        return self._client(step, Side.SOURCE, step.migration.source_pds)

    def destination(self, step: Step) -> XrpcClient:
        """The destination with the account's session. Raises EuroskyError: no password, refused, unreachable."""
        return self._client(step, Side.DESTINATION, step.migration.destination_pds)

    def check_distinct(self, step: Step) -> None:
        """Raises FatalError if the two hosts are one server under two names; a host that does not tell is let pass."""
        try:
            dids = {describe_server(client).did for client in (self.source(step), self.destination(step))}
        except (PermanentError, TransientError):
            return
        if len(dids) == 1:
            raise FatalError(
                f"{step.migration.source_pds} and {step.migration.destination_pds} are the same server, {dids.pop()}",
                code="same_host",
                hint="give two servers",
            )

    def directory(self, migration: Migration) -> Directory:
        """Where the account is looked up. Raises SettingsError: it is the sandbox's, and the sandbox is down."""
        return directory_for(self._settings, self._http, self._policy, migration.source_pds)

    def _client(self, step: Step, side: Side, url: str) -> XrpcClient:
        key = (step.token, side)
        if key not in self._clients:
            public = self._public(step, self._policy.check_reachable(url))
            did, password = step.migration.did, step.registry.password(step.token, side)
            if side is Side.DESTINATION:
                if password is None:
                    raise SettingsError(
                        f"no destination password is stored for {step.token}",
                        code="credentials_missing",
                        hint=f"`eurosky migrations retry {step.token} --destination-password-env VAR` gives it anew",
                    )
                self._clients[key] = public.with_authorization(log_in(public, did, password))
            elif password is None:
                self._clients[key] = public
            else:
                self._clients[key] = public.with_authorization(log_in_when_asked(public, did, password))
        return self._clients[key].with_stop(step.stop).with_on_wait(step.note)

    def _public(self, step: Step, base_url: str) -> XrpcClient:
        pace = self._paces.setdefault(
            base_url, HostPace(urlsplit(base_url).netloc, max_wait_s=self._settings.max_wait_s)
        )
        return XrpcClient(
            self._http,
            base_url,
            pace=pace,
            stop=step.stop,
            bandwidth=self._bandwidth,
            bypass=self._settings.bypass_key(base_url),
        )
