"""What happened, as pandas frames: read-only, on SQLite and PostgreSQL, for notebooks, reports and questions.

Every frame's columns, units and dtypes stand in `columns`; a frame without rows has them too. Filters and columns are
judged by the database, so that a ledger of millions of blobs is read as far as it is asked for:

    from eurosky_pipeline import analytics

    analytics.migrations()                                   # all of them, oldest first
    analytics.migrations(analytics.Wanted(created_after=…))  # those registered since
    analytics.blobs(token, columns=["size_bytes", "duration_s"])
    for chunk in analytics.blob_chunks(rows=50_000): ...     # whatever their number, in bounded memory

Belongs here: reading, and figures made of what was read. Does not: pictures (`eurosky report`, the notebooks), and
anything that writes. pandas is imported where it is used: nothing else in the pipeline pays for it.
"""

from eurosky_pipeline.analytics.dagster_log import asset_timings, runs
from eurosky_pipeline.analytics.frames import attempts, blob_chunks, blobs, migrations, progress, top_blobs
from eurosky_pipeline.analytics.measures import (
    failures_by_class,
    rate_limit_waits,
    success_rate,
    throughput,
    time_left,
)
from eurosky_pipeline.analytics.not_arrived import not_arrived
from eurosky_pipeline.analytics.repository import records
from eurosky_pipeline.registry.queries import Wanted

__all__ = [
    "Wanted",
    "asset_timings",
    "attempts",
    "blob_chunks",
    "blobs",
    "failures_by_class",
    "migrations",
    "not_arrived",
    "progress",
    "rate_limit_waits",
    "records",
    "runs",
    "success_rate",
    "throughput",
    "time_left",
    "top_blobs",
]
