"""Numbers and tables as people read them in the UI."""

from collections.abc import Iterable, Sequence
from typing import Any

from dagster import MetadataValue

_ESCAPES = {"\n": " ", "<": "&lt;", **{letter: f"\\{letter}" for letter in "\\|[]()!`*"}}


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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; cells are made safe, since some hold text from strangers."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def markdown(*parts: str) -> MetadataValue:
    """Paragraphs and tables, one below the other."""
    return MetadataValue.md("\n\n".join(part for part in parts if part))


def _cell(value: object) -> str:
    """A cell's text as text: no markup of a stranger's, be it a link, a picture or HTML, and no end of the cell."""
    return "".join(_ESCAPES.get(letter, letter) for letter in str(value))
