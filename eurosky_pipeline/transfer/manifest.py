"""The blob manifest: every blob that a record references or the source lists, one row each.

Neither list alone is complete: a server may not list what legacy references name, and may list what it has lost.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eurosky_pipeline.artifacts.workspace import PARTIAL_SUFFIX
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid, parse_cid
from eurosky_pipeline.atproto.repo import open_repo

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "blob_cid": "string",
    "mime_type": "string",
    "size_bytes": "Int64",
    "is_referenced": "bool",
    "is_legacy": "bool",
    "is_listed": "bool",
    "references": "int64",
    "first_record": "string",
}
"""Columns and dtypes. `mime_type` and `size_bytes` are what records claim, missing where none does (legacy references
name no size); `references` counts them; `first_record` is one record, `collection/rkey`, that names the blob."""


@dataclass(slots=True)
class ManifestRow:
    """One blob of the manifest; the fields are the table's columns."""

    blob_cid: Cid
    mime_type: str | None = None
    size_bytes: int | None = None
    is_referenced: bool = False
    is_legacy: bool = False
    is_listed: bool = False
    references: int = 0
    first_record: str | None = None


def build_manifest(car: Path, listed: Iterable[Cid]) -> pd.DataFrame:
    """The union of the CAR's references and the source's list, sorted by CID; columns as in `COLUMNS`.

    Raises: IntegrityError for a damaged CAR, and whatever reading `listed` raises.
    """
    rows: dict[Cid, ManifestRow] = {}
    with open_repo(car) as repo:
        for record in repo.records():
            for ref in find_blob_refs(record.value):
                row = rows.setdefault(ref.blob_cid, ManifestRow(ref.blob_cid))
                row.is_referenced = True
                row.is_legacy |= ref.is_legacy
                row.references += 1
                row.first_record = row.first_record or record.key
                row.mime_type = row.mime_type or ref.mime_type
                row.size_bytes = ref.size_bytes if row.size_bytes is None else row.size_bytes
    for cid in listed:
        rows.setdefault(cid, ManifestRow(cid)).is_listed = True
    return _frame(list(rows.values()))


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """As CSV, atomically."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    manifest.to_csv(partial, index=False, quoting=csv.QUOTE_ALL)  # mime types are strangers' text
    partial.replace(path)


def read_manifest(path: Path) -> pd.DataFrame:
    """What `write_manifest` wrote, with its dtypes."""
    import pandas as pd

    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=[""])


def read_rows(path: Path) -> Iterator[ManifestRow]:
    """The file's rows as values, in its order (by CID), one at a time; what is missing is None.

    Raises: CidError, ValueError if the file is not one that `write_manifest` made.
    """
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield ManifestRow(
                blob_cid=parse_cid(row["blob_cid"]),
                mime_type=row["mime_type"] or None,
                size_bytes=int(row["size_bytes"]) if row["size_bytes"] else None,
                is_referenced=row["is_referenced"] == "True",
                is_legacy=row["is_legacy"] == "True",
                is_listed=row["is_listed"] == "True",
                references=int(row["references"]),
                first_record=row["first_record"] or None,
            )


def manifest_rows(manifest: pd.DataFrame) -> Iterator[ManifestRow]:
    """The table's rows as values, in its order, what is missing as None."""
    import pandas as pd

    for row in manifest.to_dict("records"):
        values: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        values["blob_cid"] = parse_cid(values["blob_cid"])
        yield ManifestRow(**values)


def _frame(rows: list[ManifestRow]) -> pd.DataFrame:
    import pandas as pd

    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns["blob_cid"] = [str(cid) for cid in columns["blob_cid"]]
    return pd.DataFrame(columns).astype(COLUMNS).sort_values("blob_cid", ignore_index=True)
