"""Which blobs of an account did not arrive, and why, beside a record that names each blob."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from eurosky_pipeline.analytics.absent import absent
from eurosky_pipeline.analytics.columns import NOT_ARRIVED, typed
from eurosky_pipeline.analytics.reading import opened
from eurosky_pipeline.artifacts.opening import open_store
from eurosky_pipeline.artifacts.workspace import MANIFEST_CSV
from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.transfer.manifest import ManifestRow, read_rows

if TYPE_CHECKING:
    import pandas as pd

_FROM_REGISTRY: Final = ("blob_cid", "outcome", "error_code", "reason")


def not_arrived(token: str, *, limit: int | None = None, settings: Settings | None = None) -> pd.DataFrame:
    """One row for each blob of a migration that is not at the destination, by outcome and CID: whether the transfer
    knew it, or the reconciliation has found out.

    `columns.NOT_ARRIVED` says what is in it. The records that name the blobs are in the manifest, which is fetched from
    the artifacts; where it cannot be had (deleted, or on an S3 that does not answer), those columns are empty.

    Args: limit: at most so many rows.
    Raises: SettingsError: there is no registry (code `nothing_yet`), or it cannot be opened.
    """
    import pandas as pd

    settings = load_settings() if settings is None else settings
    with opened(settings) as engine, engine.connect() as connection:
        table = absent(token, engine.dialect.name).c
        query = select(table.blob_cid, table.outcome, table.error_code, table.error_text)
        rows = [tuple(row) for row in connection.execute(query.order_by(table.outcome, table.blob_cid).limit(limit))]
    frame = pd.DataFrame.from_records(rows, columns=list(_FROM_REGISTRY))
    named = _manifest_rows(token, frame["blob_cid"], settings) if rows else {}
    found = [named.get(cid) for cid in frame["blob_cid"]]
    frame["named_by"] = [row.first_record if row else None for row in found]
    frame["records"] = [row.references if row else None for row in found]
    frame["mime_type"] = [row.mime_type if row else None for row in found]
    frame["size_bytes"] = [row.size_bytes if row else None for row in found]
    return typed(frame, NOT_ARRIVED)


def _manifest_rows(token: str, cids: Iterable[str], settings: Settings) -> dict[str, ManifestRow]:
    """Of these blobs, what the manifest says; nothing where there is no manifest."""
    with tempfile.TemporaryDirectory(prefix="eurosky-manifest-") as folder:
        path = Path(folder) / MANIFEST_CSV
        with suppress(EuroskyError, ValueError, KeyError, csv.Error):  # deleted, or not as it was written
            open_store(settings.resolved_artifacts, token).get(MANIFEST_CSV, path)
            return {str(row.blob_cid): row for row in read_rows(path, only=frozenset(cids))}
    return {}
