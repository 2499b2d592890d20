"""Running the real job on the real servers, as the tests need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, ExecuteInProcessResult, MetadataValue, TableMetadataValue
from pydantic import SecretStr

from eurosky_pipeline.definitions import build_defs
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.sandbox.seed import SeededAccount
from eurosky_pipeline_tests.canary import traces


@dataclass(frozen=True)
class Run:
    """One run of the job, and the migration's row after it."""

    result: ExecuteInProcessResult
    migration: Migration

    @property
    def failure_text(self) -> str:
        """What the step that failed says of itself: what a person reads in the UI."""
        failed = next(event for event in self.result.all_events if event.is_step_failure)
        return failed.step_failure_data.user_failure_data.description

    def metadata(self, asset: str) -> dict[str, Any]:
        return told(self.result.asset_materializations_for_node(asset)[0].metadata)


def told(metadata: Mapping[str, MetadataValue]) -> dict[str, Any]:
    """What the UI shows, as plain values; a table as a list of its rows."""
    return {
        name: [dict(row.data) for row in value.records] if isinstance(value, TableMetadataValue) else value.value
        for name, value in metadata.items()
    }


def register(registry: Registry, account: SeededAccount, **changes: Any) -> Migration:
    """A migration of a seeded account; `changes` replace fields of `NewMigration`, or the `password`."""
    password = changes.pop("password", account.destination_password)
    fields = {
        "did": account.did,
        "source_pds": account.source_pds,
        "destination_pds": account.destination_pds,
        "handle": account.handle,
        **changes,
    }
    return registry.add(NewMigration(**fields), {Side.DESTINATION: SecretStr(password)})


def run_job(registry: Registry, token: str, *, assets: list[str] | None = None, **overrides: Any) -> Run:
    """The job `migrate_account`, whole or some of its assets, in this process."""
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name, [token])
        job = build_defs(**overrides).resolve_job_def("migrate_account")
        result = job.execute_in_process(
            instance=instance, partition_key=token, raise_on_error=False, asset_selection=_keys(assets)
        )
    return Run(result, registry.get(token))


def files_holding(secret: str, folder: Path) -> list[str]:
    """Where below `folder` this stands, however it is spelled, databases included."""
    return traces([secret], folder)


def _keys(assets: list[str] | None) -> Any:
    from dagster import AssetKey

    return [AssetKey(name) for name in assets] if assets else None
