"""What Dagster's own storage knows of runs and assets; the one module of this room that speaks to Dagster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.analytics.columns import ASSET_TIMINGS, RUNS, typed
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd
    from dagster import DagsterInstance, EventLogRecord, RunRecord

ASSETS: Final = (
    "exported_car",
    "converted_car",
    "imported_repo",
    "blob_manifest",
    "transferred_blobs",
    "reconciliation_report",
)
_PAGE: Final = 500


def runs(token: str | None = None, *, limit: int = 10_000, settings: Settings | None = None) -> pd.DataFrame:
    """One row a run of a migration, or of all: the newest at the top, at most `limit`.

    Raises: SettingsError: Dagster has not run here yet (code `nothing_yet`).
    """
    import pandas as pd

    with _instance(settings) as instance:
        rows = [_of_run(record) for record in _each_run(instance, token, limit)]
    frame = pd.DataFrame.from_records(rows, columns=[column.name for column in RUNS if column.name[-2:] != "_s"])
    for name in ("created_at", "started_at", "ended_at"):
        frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
    frame["queued_s"] = (frame["started_at"] - frame["created_at"]).dt.total_seconds()
    frame["duration_s"] = (frame["ended_at"] - frame["started_at"]).dt.total_seconds()
    return typed(frame, RUNS)


def asset_timings(token: str | None = None, *, limit: int = 10_000, settings: Settings | None = None) -> pd.DataFrame:
    """One row for each time that an asset was materialized, the newest of each asset first, at most `limit` of each.

    Raises: as `runs`.
    """
    import pandas as pd

    with _instance(settings) as instance:
        rows = [
            _of_materialization(asset, record)
            for asset in ASSETS
            for record in _each_materialization(instance, asset, token, limit)
        ]
    frame = pd.DataFrame.from_records(rows, columns=[column.name for column in ASSET_TIMINGS])
    frame["materialized_at"] = pd.to_datetime(frame["materialized_at"], unit="s", utc=True)
    return typed(frame, ASSET_TIMINGS)


@contextmanager
def _instance(settings: Settings | None) -> Iterator[DagsterInstance]:
    from dagster import DagsterInstance

    folder = (load_settings() if settings is None else settings).resolved_dagster_home
    if not (folder / "dagster.yaml").exists():
        raise SettingsError(
            f"Dagster has not run here yet: there is no {folder / 'dagster.yaml'}",
            code="nothing_yet",
            hint="`eurosky demo` makes a run; DAGSTER_HOME and EUROSKY_HOME say where it is looked for",
        )
    with DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def _each_run(instance: DagsterInstance, token: str | None, limit: int) -> Iterator[RunRecord]:
    from dagster import RunsFilter
    from dagster._core.storage.tags import PARTITION_NAME_TAG

    wanted, cursor = RunsFilter(tags={PARTITION_NAME_TAG: token}) if token is not None else None, None
    while limit > 0:
        page = instance.get_run_records(wanted, limit=min(limit, _PAGE), cursor=cursor)
        yield from (record for record in page if PARTITION_NAME_TAG in record.dagster_run.tags)
        if len(page) < min(limit, _PAGE):
            return
        limit, cursor = limit - len(page), page[-1].dagster_run.run_id


def _of_run(record: RunRecord) -> tuple[Any, ...]:
    from dagster._core.storage.tags import PARTITION_NAME_TAG

    run = record.dagster_run
    created_s = record.create_timestamp.timestamp()
    return (
        run.run_id,
        run.tags[PARTITION_NAME_TAG],
        run.job_name,
        run.status.value,
        run.tags.get("eurosky/lane"),
        created_s,
        record.start_time,
        record.end_time,
    )


def _each_materialization(
    instance: DagsterInstance, asset: str, token: str | None, limit: int
) -> Iterator[EventLogRecord]:
    from dagster import AssetKey, AssetRecordsFilter

    wanted = AssetRecordsFilter(AssetKey(asset), asset_partitions=None if token is None else [token])
    cursor = None
    while limit > 0:
        page = instance.fetch_materializations(wanted, limit=min(limit, _PAGE), cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        limit, cursor = limit - len(page.records), page.cursor


def _of_materialization(asset: str, record: EventLogRecord) -> tuple[Any, ...]:
    materialization = record.asset_materialization
    metadata: Mapping[str, Any] = {} if materialization is None else materialization.metadata
    duration = metadata.get("duration_s")
    return (
        asset,
        record.partition_key,
        record.run_id,
        record.timestamp,
        None if duration is None else duration.value,
    )
