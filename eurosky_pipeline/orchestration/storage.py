"""Where Dagster keeps runs, events and schedules: where the registry is, by the same setting.

`dagster.yaml` names `InstanceStorage` and nothing else. It holds no URL, so that none is seen in the UI, in the
instance's description, or in what is handed to the processes of runs: each reads the setting for itself.
"""

from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from eurosky_pipeline.orchestration.sqlite_storage import KeptSqliteStorage
from eurosky_pipeline.registry.database import server_url
from eurosky_pipeline.settings import load_settings


class InstanceStorage(DagsterStorage, ConfigurableClass):
    """Stands in `dagster.yaml`; what comes of it is a storage on SQLite, in Dagster's own layout, or on PostgreSQL."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Any:  # noqa: ARG003
        """Raises: SettingsError for a setting that cannot be used, sqlalchemy's for a server that stays away."""
        settings = load_settings()
        url = server_url(settings)
        if url is None:
            return KeptSqliteStorage.from_local(str(settings.resolved_dagster_home), inst_data)
        from eurosky_pipeline.orchestration.postgres_storage import open_postgres_storage

        return open_postgres_storage(url, inst_data)
