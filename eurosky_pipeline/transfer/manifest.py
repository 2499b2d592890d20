"""The blob manifest: every blob that a record references or the source lists, one row each.

Neither list alone is complete: a server may not list what legacy references name, and may list what it has lost. The
two are put together in a table on the disk, so that memory does not follow their length.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX
from eurosky_pipeline.artifacts.tables import written_csv
from eurosky_pipeline.atproto.blob_refs import find_blob_refs
from eurosky_pipeline.atproto.cid import Cid, parse_cid
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.errors import FatalError

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

MAX_MIME_TYPE_CHARS: Final = 255
"""Two names of 127 characters at most, and the slash between them (RFC 6838, 4.2): what is longer is none."""

MIME_TYPES_COUNTED: Final = 20

_TABLE: Final = """
    CREATE TABLE blobs (
        blob_cid TEXT PRIMARY KEY, mime_type TEXT, size_bytes INTEGER, is_referenced INTEGER NOT NULL,
        is_legacy INTEGER NOT NULL, is_listed INTEGER NOT NULL, "references" INTEGER NOT NULL, first_record TEXT
    ) WITHOUT ROWID"""
_REFERENCE: Final = """
    INSERT INTO blobs VALUES (?, ?, ?, 1, ?, 0, 1, ?) ON CONFLICT DO UPDATE SET
        mime_type = coalesce(mime_type, excluded.mime_type), size_bytes = coalesce(size_bytes, excluded.size_bytes),
        is_legacy = is_legacy | excluded.is_legacy, "references" = "references" + 1"""
_LISTED: Final = "INSERT INTO blobs VALUES (?, NULL, NULL, 0, 0, 1, 0, NULL) ON CONFLICT DO UPDATE SET is_listed = 1"
_PRAGMAS: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")


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


@dataclass(frozen=True, slots=True)
class ManifestTotals:
    """Sums over the rows. `claimed_bytes` is what records say; `mime_types` counts the most frequent ones, the most
    frequent first, None being a blob of which no record tells it."""

    blobs: int
    claimed_bytes: int
    referenced: int
    legacy: int
    listed: int
    mime_types: tuple[tuple[str | None, int], ...]


def write_manifest(car: Path, listed: Iterable[Cid], path: Path) -> ManifestTotals:
    """Write the union of the CAR's references and the source's list as CSV, sorted by CID, columns as in `COLUMNS`.

    Raises:
        IntegrityError: the CAR is damaged.
        FatalError: the disk is full.
        Whatever reading `listed` raises.
    """
    with _table(path) as table:
        table.executemany(_REFERENCE, _references(car))
        table.executemany(_LISTED, ((str(cid),) for cid in listed))
        with written_csv(path, list(COLUMNS)) as write:
            for cid, mime_type, size_bytes, *flags, references, first_record in table.execute(
                "SELECT * FROM blobs ORDER BY blob_cid"
            ):
                write([cid, mime_type, size_bytes, *map(bool, flags), references, first_record])
        return _totals(table)


def read_rows(path: Path, only: Collection[str] | None = None) -> Iterator[ManifestRow]:
    """The file's rows as values, in its order (by CID), one at a time; what is missing is None.

    Args:
        only: CIDs whose rows are wanted; None for all.

    Raises: CidError, ValueError if the file is not one that `write_manifest` made.
    """
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if only is not None and row["blob_cid"] not in only:
                continue
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


def read_manifest(path: Path) -> pd.DataFrame:
    """The whole table with its dtypes, for notebooks; the pipeline reads rows."""
    import pandas as pd

    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=[""])


def _references(car: Path) -> Iterator[tuple[str, str | None, int | None, bool, str]]:
    with open_repo(car) as repo:
        for record in repo.records():
            for ref in find_blob_refs(record.value):
                mime_type = ref.mime_type if 0 < len(ref.mime_type) <= MAX_MIME_TYPE_CHARS else None
                yield str(ref.blob_cid), mime_type, ref.size_bytes, ref.is_legacy, record.key


def _totals(table: sqlite3.Connection) -> ManifestTotals:
    blobs, *sums = table.execute(
        "SELECT count(*), total(size_bytes), total(is_referenced), total(is_legacy), total(is_listed) FROM blobs"
    ).fetchone()
    claimed_bytes, referenced, legacy, listed = map(int, sums)
    mime_types = table.execute(
        "SELECT mime_type, count(*) AS blobs FROM blobs GROUP BY 1 ORDER BY blobs DESC, 1 LIMIT ?", [MIME_TYPES_COUNTED]
    )
    return ManifestTotals(blobs, claimed_bytes, referenced, legacy, listed, tuple(mime_types))


@contextmanager
def _table(path: Path) -> Iterator[sqlite3.Connection]:
    """An empty table beside `path`, gone when the block ends; nothing of it is worth a sync or a journal."""
    file = path.with_name(f"{path.stem}.db{PARTIAL_SUFFIX}")
    file.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(file)) as table:
            for pragma in _PRAGMAS:
                table.execute(f"PRAGMA {pragma}")
            table.execute(_TABLE)
            yield table
    except sqlite3.OperationalError as error:
        raise FatalError(
            f"cannot write {file}: {error}",
            code="disk_full" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else "disk",
            hint="make room or mend the disk, then run the migration again; nothing that arrived is lost",
        ) from None
    finally:
        file.unlink(missing_ok=True)
