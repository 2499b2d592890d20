"""Numbers, banners and tables as people read them in the UI.

Dagster's pages show a table as it is, and Markdown below a thousand characters; longer Markdown is behind a click. So
what has to be seen at once is a short banner, and what has rows is a table of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from eurosky_pipeline.words import one_line

ROWS_SHOWN: Final = 20
LONGEST_TEXT: Final = 500
"""Characters of a text that strangers have a part in."""


def rates(blobs: int, size_bytes: int, duration_s: float) -> dict[str, float]:
    """What the UI plots over partitions: blobs and bytes a second; nothing where no time has passed."""
    if duration_s <= 0:
        return {}
    return {"blobs_per_s": round(blobs / duration_s, 3), "bytes_per_s": round(size_bytes / duration_s, 1)}


def links(did_document: str, source_pds: str, destination_pds: str, did: str) -> dict[str, MetadataValue[Any]]:
    """The DID document, and what each server tells of the account."""
    described = f"/xrpc/com.atproto.repo.describeRepo?repo={did}"
    addresses = {
        "did_document": did_document,
        "account_at_source": source_pds + described,
        "account_at_destination": destination_pds + described,
    }
    return {name: MetadataValue.url(address) for name, address in addresses.items()}


def table(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, MetadataValue[Any]]:
    """A table under this name; nothing where there are no rows. Numbers stay numbers, all else is text."""
    records = [TableRecord(dict(zip(header, map(_cell, row), strict=True))) for row in rows]
    schema = TableSchema([TableColumn(column, _type(records, column)) for column in header])
    return {name: MetadataValue.table(records, schema)} if records else {}


def largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest counts, at most `ROWS_SHOWN`: of how many kinds an account's records are is its owner's choice."""
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:ROWS_SHOWN]


def banner(*parts: str) -> MetadataValue[Any]:
    """Paragraphs of Markdown, one below the other; what strangers have a part in goes through `plain` first."""
    return MetadataValue.md("\n\n".join(part for part in parts if part))


def warned(warnings: Iterable[str]) -> list[str]:
    """A paragraph for each."""
    return [f"⚠ {plain(warning)}" for warning in warnings]


def without_cid(reason: str, blob_cid: object) -> str:
    """A reason for a row that has the CID itself: a CID is a word of 59 letters, and no page breaks it."""
    return reason.replace(str(blob_cid), "…")


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line: no markup of a stranger's, be it a link, a picture or HTML.

    A span of code, as nothing else keeps a page from making a link of what looks like an address.
    """
    shown = _shown(text).replace("`", "'")
    return f"`{shown}`"


def _shown(text: str) -> str:
    return one_line(text, LONGEST_TEXT)


def _cell(value: object) -> str | int | float:
    return value if isinstance(value, (int, float)) else _shown(str(value))


def _type(records: Sequence[TableRecord], column: str) -> str:
    kinds = {type(record.data[column]) for record in records}
    return "int" if kinds == {int} else "float" if kinds <= {int, float} else "string"
