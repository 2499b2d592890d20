"""The columns of every frame: their names, dtypes, units and meanings, in the order in which they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eurosky_pipeline.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

MOMENT: Final = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a frame.

    Attributes:
        dtype: as pandas calls it; those that begin with a capital letter know of missing values.
        unit: empty where there is none to name.
    """

    name: str
    dtype: str
    meaning: str
    unit: str = ""


MIGRATIONS: Final = (
    Column("token", "string", "the migration's token, and the key of its partition"),
    Column("did", "string", "whose account it is"),
    Column("handle", "string", "the account's handle, where it was given or found"),
    Column("source_pds", "category", "base URL of the server that it leaves"),
    Column("destination_pds", "category", "base URL of the server that it moves to"),
    Column("state", "category", "where it stands: pending_repo, pending_blobs, pending_prefs, waiting, failed, …"),
    Column("error_code", "category", "why it failed or waits"),
    Column("error_text", "string", "the same in words"),
    Column("attempts", "Int64", "runs that have worked on it"),
    Column("blobs_total", "Int64", "blobs of its manifest"),
    Column("blobs_completed", "Int64", "of them, those that arrived, by the ledger"),
    Column("bytes_transferred", "Int64", "what was sent to the destination", "bytes"),
    Column("reconciliation_status", "category", "complete, partial, skipped or error"),
    Column("blobs_started_at", MOMENT, "when the transfer of its blobs last began", "UTC"),
    Column("blobs_completed_at", MOMENT, "when it last ended", "UTC"),
    Column("created_at", MOMENT, "when it was registered", "UTC"),
    Column("updated_at", MOMENT, "when its row last changed", "UTC"),
    Column("resume_at", MOMENT, "when a waiting one may go on", "UTC"),
    Column("purged_at", MOMENT, "when its ledger and files were deleted; the counts above stay", "UTC"),
)

ATTEMPTS: Final = (
    Column("token", "string", "the migration's token"),
    Column("number", "Int64", "from 1 on"),
    Column("run_id", "string", "Dagster's run that made it"),
    Column("started_at", MOMENT, "when the run took the migration's lease", "UTC"),
    Column("started_in", "category", "the migration's state then"),
    Column("ended_at", MOMENT, "when it let go, failed or was put off; missing while it is under way", "UTC"),
    Column("ended_in", "category", "the migration's state then; missing if the run was lost"),
    Column("duration_s", "Float64", "from its beginning to its end", "seconds"),
    Column("error_code", "category", "why it failed, was put off or was lost"),
    Column("error_text", "string", "the same in words"),
)

BLOBS: Final = (
    Column("token", "category", "the migration's token"),
    Column("blob_cid", "string", "the blob's CID"),
    Column("outcome", "category", "transferred, already_there, missing_at_source, too_large, …: exactly one"),
    Column("size_bytes", "Int64", "as verified and sent; of one that was there before, what records claim", "bytes"),
    Column("mime_type", "category", "as it was sent"),
    Column("attempts", "Int64", "tries to download or to upload it, in the last run; 0 if nothing was tried"),
    Column("bytes_moved", "Int64", "that came from the source or went to the destination, in all tries", "bytes"),
    Column("download_s", "Float64", "wall time of all tries to download it, waits included", "seconds"),
    Column("upload_s", "Float64", "wall time of all tries to upload it, waits included", "seconds"),
    Column("error_class", "category", "transient, permanent or integrity; missing if it arrived"),
    Column("error_code", "category", "the last error's code; missing if it arrived"),
    Column("error_text", "string", "the same in words; missing if it arrived"),
    Column("started_at", MOMENT, "when a worker took it up", "UTC"),
    Column("ended_at", MOMENT, "when that worker was done with it", "UTC"),
    Column("duration_s", "Float64", "from the one to the other", "seconds"),
)

NOT_ARRIVED: Final = (
    Column("blob_cid", "string", "the blob's CID"),
    Column(
        "outcome",
        "category",
        "missing_at_source, corrupt_at_source, taken_down, too_large or failed; missing_at_destination of one that was "
        "sent, and that the reconciliation has missed; unknown where the ledger does not have it",
    ),
    Column("error_code", "category", "the last error's code; missing if it was sent, or is unknown"),
    Column("reason", "string", "why, in words"),
    Column("named_by", "string", "a record that names it, `collection/rkey`; missing if none does"),
    Column("records", "Int64", "how often records name it"),
    Column("mime_type", "category", "what that record says it is"),
    Column("size_bytes", "Int64", "what that record says of its size; the old form of references does not", "bytes"),
)
"""The last four are of the manifest, and missing where it cannot be had."""

PROGRESS: Final = (
    Column("moment", MOMENT, "the end of an interval in which blobs were settled", "UTC"),
    Column("blobs_settled", "Int64", "blobs with an outcome until then"),
    Column("blobs_failed", "Int64", "of them, those that did not arrive, by the ledger"),
    Column("bytes_sent", "Int64", "bytes of those that were transferred until then", "bytes"),
    Column("blobs_per_s", "Float64", "in this interval", "blobs a second"),
    Column("bytes_per_s", "Float64", "in this interval", "bytes a second"),
)

RUNS: Final = (
    Column("run_id", "string", "Dagster's run"),
    Column("token", "string", "the migration that it was for"),
    Column("job", "category", "the job's name; `__ASSET_JOB` for assets picked by hand"),
    Column("status", "category", "as Dagster has it: SUCCESS, FAILURE, CANCELED, QUEUED, STARTED, …"),
    Column("lane", "category", "bulk or critical"),
    Column("created_at", MOMENT, "when it was asked for", "UTC"),
    Column("started_at", MOMENT, "when its process began", "UTC"),
    Column("ended_at", MOMENT, "when it ended, in whatever way", "UTC"),
    Column("queued_s", "Float64", "from the first to the second", "seconds"),
    Column("duration_s", "Float64", "from the second to the third", "seconds"),
)

ASSET_TIMINGS: Final = (
    Column("asset", "category", "exported_car, converted_car, …"),
    Column("token", "string", "the migration's token"),
    Column("run_id", "string", "the run that materialized it"),
    Column("materialized_at", MOMENT, "when", "UTC"),
    Column("duration_s", "Float64", "of the asset's own work", "seconds"),
)

RECORDS: Final = (
    Column("collection", "category", "the record's collection, an NSID"),
    Column("rkey", "string", "its key there"),
    Column("cid", "string", "the CID of its block"),
    Column("created_at", MOMENT, "when it was made, by its own word; missing where that cannot be", "UTC"),
    Column("size_bytes", "Int64", "of its block", "bytes"),
    Column("blob_refs", "Int64", "references to blobs in the current form"),
    Column("legacy_blob_refs", "Int64", "references in the form from before 2023"),
    Column("blob_bytes", "Int64", "the sizes that its references claim, added up", "bytes"),
)

FRAMES: Final = {
    "migrations": MIGRATIONS,
    "attempts": ATTEMPTS,
    "blobs": BLOBS,
    "not_arrived": NOT_ARRIVED,
    "progress": PROGRESS,
    "runs": RUNS,
    "asset_timings": ASSET_TIMINGS,
    "records": RECORDS,
}


def chosen(columns: Sequence[Column], names: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns with these names, in the order of the names; all for None. Raises SettingsError for another name."""
    if names is None:
        return tuple(columns)
    by_name = {column.name: column for column in columns}
    if unknown := [name for name in names if name not in by_name]:
        raise SettingsError(
            f"there is no column {', '.join(map(repr, unknown))}",
            code="unknown_column",
            hint=f"there are: {', '.join(by_name)}",
        )
    return tuple(by_name[name] for name in names)


def typed(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The frame with just these columns, in their order and with their dtypes."""
    import pandas as pd

    made = {}
    for column in columns:
        dtype: Any = column.dtype
        values = frame[column.name] if column.name in frame else pd.Series(index=frame.index, dtype=object)
        if column.dtype == MOMENT:
            made[column.name] = pd.to_datetime(values, utc=True).astype(MOMENT)
        else:
            made[column.name] = values.astype(dtype)
    return pd.DataFrame(made, index=frame.index)


def documented(name: str) -> str:
    """A frame's columns as a table in Markdown, for the docs and for who asks in a notebook."""
    lines = [f"| `{name}` | dtype | unit | |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} |" for c in FRAMES[name]]
    return "\n".join(lines)
