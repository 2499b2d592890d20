"""What every asset is given: the registry, and the folders.

A field that is None is read from the environment when a run begins, not when this module is loaded; a test, or a
deployment with `build_defs(...)`, can give its own.
"""

import threading
from pathlib import Path

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from eurosky_pipeline.artifacts.workspace import Workspace
from eurosky_pipeline.registry.patience import PATIENCE_S
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.settings import artifacts_location, load_settings


class RegistryResource(ConfigurableResource[Registry]):
    """The migrations' registry; lets go of the run's leases when the run ends, in whatever way."""

    _registry: Registry = PrivateAttr()
    _is_stopped: bool = PrivateAttr(default=False)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        self._is_stopped = False
        self._registry = open_registry(load_settings(), patience_s=PATIENCE_S)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        if context.run is not None:
            self._registry.release_leases(context.run.run_id, is_stopped=self._is_stopped)
        self._registry.close()

    def opened(self) -> Registry:
        return self._registry

    def note_stop(self) -> None:
        """The run's work was broken off. It is put down when the run lets go of its leases, and not before: of a run
        that is killed until then, the attempt is still open, and known to be lost by that."""
        self._is_stopped = True


class WorkspaceResource(ConfigurableResource["WorkspaceResource"]):
    """Scratch and artifacts. `home` and `artifacts` stand in for `EUROSKY_HOME` and `EUROSKY_ARTIFACTS`."""

    home: str | None = None
    artifacts: str | None = None

    def of(self, token: str, stop: threading.Event | None = None) -> Workspace:
        """The folders of one migration, which exist from now on. `stop` ends what takes long."""
        settings = load_settings()
        artifacts = artifacts_location(self.artifacts) if self.artifacts else settings.resolved_artifacts
        return Workspace(Path(self.home or settings.home), artifacts, token, stop)
