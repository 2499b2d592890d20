"""JSON Lines: an object a line, with the names of the columns as its keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.csv_rows import decode
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import (
    COLUMNS,
    MAX_FIELD_BYTES,
    TOLD_ONLY,
    TOO_LONG,
    Rejected,
    Row,
    RowRefused,
    check_columns,
)
from eurosky_pipeline.words import one_line

_KNOWN = frozenset({*COLUMNS, *TOLD_ONLY})


def read_json_lines(lines: Lines) -> Iterator[Row | Rejected]:
    """Every object; empty lines are none.

    Raises: SettingsError if the first object has keys that no list has: nothing has been added then, and the rest will
        hardly be better. Of the others each is rejected by itself.
    """
    if lines.first.lstrip().startswith(b"["):
        raise SettingsError(
            "the list is a JSON array, and not JSON Lines",
            code="list_unreadable",
            hint="write an object a line: jq -c '.[]' FILE",
        )
    is_first = True
    while piece := lines.piece():
        line = lines.number
        if lines.is_cut(piece):
            lines.skip_line(piece)
            yield Rejected(line, TOO_LONG)
            continue
        if not piece.strip():
            continue
        try:
            values = _object(piece)
            if is_first:
                check_columns(list(values))
            is_first = False
            yield Row(line, _texts(values))
        except RowRefused as error:
            yield Rejected(line, error.message)


def _object(piece: bytes) -> dict[str, Any]:
    try:
        found = json.loads(decode(piece), object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # its text may repeat a part of the line
        raise RowRefused("it is not JSON") from None
    if not isinstance(found, dict):
        raise RowRefused("it is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RowRefused("a key is there twice")
    return found


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Raises: RowRefused."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if name not in _KNOWN:
            raise RowRefused(f"it has a key that no list has, {one_line(repr(name), 42)}")
        if value is None or name in TOLD_ONLY:
            continue
        text = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(text, str):
            raise RowRefused(f"{name} is neither a text nor true or false")
        if len(text) > MAX_FIELD_BYTES:
            raise RowRefused(TOO_LONG)
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise RowRefused(f"{name} holds a character that no text has")
        if text:
            found[name] = text
    return found
