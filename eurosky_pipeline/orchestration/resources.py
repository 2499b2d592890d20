"""What assets are given: the registry, the two servers, the folders, and the blob transfer.

A field that is None is read from the environment when a run begins, not when this module is loaded; a test, or a
deployment with `build_defs(...)`, can give its own.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx
from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.atproto.cid import Cid
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.identity.did import DidDocument, resolve_did
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.state import allowed_addresses, load_state
from eurosky_pipeline.settings import DEFAULT_PLC_URL, Settings, load_settings
from eurosky_pipeline.transfer.blob_copy import BlobCopier
from eurosky_pipeline.transfer.blobs import TransferTotals, transfer_blobs
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.endpoints import describe_server
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in


class RegistryResource(ConfigurableResource[Registry]):
    """The migrations' registry; lets go of the run's leases when the run ends, in whatever way."""

    _registry: Registry = PrivateAttr()

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._registry = open_registry(load_settings())

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        if context.run_id:
            self._registry.release_leases(context.run_id)
        self._registry.close()

    def opened(self) -> Registry:
        return self._registry


class WorkspaceResource(ConfigurableResource["WorkspaceResource"]):
    """Scratch and artifacts. `home` and `artifacts` stand in for `EUROSKY_HOME` and `EUROSKY_ARTIFACTS`."""

    home: str | None = None
    artifacts: str | None = None

    def of(self, token: str) -> Workspace:
        """The folders of one migration, which exist from now on."""
        settings = load_settings()
        home = Path(self.home) if self.home else settings.home
        artifacts = self.artifacts or settings.artifacts
        return Workspace(home, Path(artifacts) if artifacts else home / "artifacts", token)


class PdsResource(ConfigurableResource["PdsResource"]):
    """Clients of the two servers of a migration: one connection pool and one login a side, for the whole run."""

    _settings: Settings = PrivateAttr()
    _http: httpx.Client = PrivateAttr()
    _policy: HostPolicy = PrivateAttr()
    _clients: dict[tuple[str, Side], XrpcClient] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._settings = load_settings()
        self._http = new_http_client(self._settings.parallel_blobs)
        self._policy = HostPolicy(self._settings.is_private_hosts_allowed, allowed_addresses(self._settings.home))

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._http.close()

    def source(self, migration: Migration, registry: Registry) -> XrpcClient:
        """The source, with the account's session where its password was given. Raises EuroskyError."""
        return self._client(migration, Side.SOURCE, migration.source_pds, registry)

    def destination(self, migration: Migration, registry: Registry) -> XrpcClient:
        """The destination with the account's session. Raises EuroskyError: no password, refused, unreachable."""
        return self._client(migration, Side.DESTINATION, migration.destination_pds, registry)

    def did_document(self, migration: Migration) -> DidDocument:
        """What the world is told about the account. Raises as `identity.did.resolve_did`."""
        return resolve_did(self._http, migration.did, plc_url=self._plc_url(migration), policy=self._policy)

    def _client(self, migration: Migration, side: Side, url: str, registry: Registry) -> XrpcClient:
        key = (migration.token, side)
        if key not in self._clients:
            public = XrpcClient(self._http, self._policy.check_reachable(url))
            password = registry.password(migration.token, side)
            if password is None and side is Side.DESTINATION:
                raise SettingsError(
                    f"no destination password is stored for {migration.token}",
                    code="credentials_missing",
                    hint="add the migration again with --destination-password-env",
                )
            client = public if password is None else public.with_authorization(log_in(public, migration.did, password))
            self._clients[key] = client
        return self._clients[key]

    def _plc_url(self, migration: Migration) -> str:
        """The sandbox's accounts are known to the sandbox's directory only."""
        if self._settings.plc_url:
            return self._settings.plc_url
        sandbox = load_state(self._settings.home)
        if sandbox and migration.source_pds in {sandbox.source_pds, sandbox.destination_pds}:
            return sandbox.plc_url
        return DEFAULT_PLC_URL


class BlobTransferResource(ConfigurableResource["BlobTransferResource"]):
    """The streaming transfer: `parallel_blobs` threads, memory that no blob's size changes, verified both ways."""

    parallel_blobs: int | None = None
    progress_update_interval: int | None = None
    max_blob_bytes: int | None = None

    def run(
        self,
        cids: list[Cid],
        source: XrpcClient,
        destination: XrpcClient,
        *,
        migration: Migration,
        registry: Registry,
        workspace: Workspace,
        stop: threading.Event,
        on_settled: Callable[[TransferTotals], None] = lambda _: None,
    ) -> TransferTotals:
        """Copy these blobs; each ends in one outcome in the ledger. Raises FatalError where nothing more can work."""
        settings = load_settings()
        limit = describe_server(destination).blob_upload_limit_bytes
        max_bytes = self.max_blob_bytes or settings.max_blob_bytes
        with workspace.blob_folder() as folder:
            copier = BlobCopier(
                source=source,
                destination=destination,
                did=migration.did,
                folder=folder,
                max_bytes=min(max_bytes, limit or max_bytes),
                stop=stop,
            )
            return transfer_blobs(
                cids,
                copier,
                registry,
                migration.token,
                workers=self.parallel_blobs or settings.parallel_blobs,
                update_interval=self.progress_update_interval or settings.progress_update_interval,
                stop=stop,
                on_settled=on_settled,
            )


def default_resources() -> dict[str, object]:
    """The resources of a real run, by the names that assets ask for; progress is told to nobody."""
    from eurosky_pipeline.transfer.progress import SilentProgress

    return {
        "registry": RegistryResource(),
        "workspace": WorkspaceResource(),
        "pds": PdsResource(),
        "blob_transfer": BlobTransferResource(),
        "progress": cast("object", SilentProgress()),
    }
