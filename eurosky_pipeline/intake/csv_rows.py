"""CSV, strictly: a header, one separator, quotes only round whole fields; each row by itself, within bounds.

A row is cut out of the file before it is split, so that one that is broken, or far too long, costs no memory and is the
only one to be lost. Where a quote is opened and never closed, all that follows is inside of it: that is said, with the
lines, and nothing in there is guessed to be rows again.

Spec: RFC 4180, and `;` or a tab as the separator, as spreadsheets write it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import (
    COLUMNS,
    MAX_FIELD_BYTES,
    MAX_ROW_BYTES,
    TOLD_ONLY,
    TOO_LONG,
    Rejected,
    Row,
    RowRefused,
    check_header,
)

SEPARATORS: Final = (",", ";", "\t")
_BAD_QUOTES: Final = (
    "a quote stands within a field, or text after one that closes: quote whole fields, and double a quote"
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How lines of a row look with one separator. Every loop is possessive: a match takes linear time."""

    whole: re.Pattern[bytes]
    opened: re.Pattern[bytes]
    closing: re.Pattern[bytes]
    inside: re.Pattern[bytes]


def _shape(separator: str) -> _Shape:
    sep = re.escape(separator.encode())
    text = rb'(?:[^"]++|"")*+'
    field = rb'(?:"%s"|[^"%s\n]*+)' % (text, sep)
    more = rb"(?:%s%s)*+\r?\n?" % (sep, field)
    opened = rb'(?:%s%s)*+"%s' % (field, sep, text)
    return _Shape(
        whole=re.compile(field + more),
        opened=re.compile(opened),
        closing=re.compile(text + b'"' + more),
        inside=re.compile(rb'%s(?:"%s%s)?' % (text, sep, opened)),
    )


def read_csv(lines: Lines) -> Iterator[Row | Rejected]:
    """Every row after the header; empty lines are none.

    Raises: SettingsError if the first line does not name the columns of a list.
    """
    header = _first_line(lines)
    separator = max(SEPARATORS, key=lambda sep: _known(_split(header, sep)))
    names = [name.strip().lower() for name in _split(header, separator)]
    check_header(names)
    for line, record in _records(lines, _shape(separator)):
        if isinstance(record, Rejected):
            yield record
            continue
        try:
            values = split_fields(record, separator)
            if len(values) != len(names):
                raise RowRefused(f"it has {len(values)} fields, and the header {len(names)}")
        except RowRefused as error:
            yield Rejected(line, error.message)
            continue
        yield Row(line, {name: value for name, value in zip(names, values, strict=True) if value})


def split_fields(record: bytes, separator: str) -> list[str]:
    """The fields of one whole row. Raises: RowRefused."""
    text = decode(record).removesuffix("\n").removesuffix("\r")
    if '"' not in text:
        fields = text.split(separator)
    else:
        try:
            fields = next(csv.reader([text], delimiter=separator, strict=True))
        except (csv.Error, StopIteration):
            raise RowRefused(_BAD_QUOTES if len(record) <= MAX_FIELD_BYTES else TOO_LONG) from None
    if len(record) > MAX_FIELD_BYTES and any(len(field.encode()) > MAX_FIELD_BYTES for field in fields):
        raise RowRefused(TOO_LONG)
    return fields


def decode(record: bytes) -> str:
    """Raises: RowRefused for what is not UTF-8, or holds a NUL."""
    try:
        text = record.decode()
    except UnicodeDecodeError as error:
        raise RowRefused(f"it is not in UTF-8 (byte {error.start + 1} of the row): save the list as UTF-8") from None
    if "\0" in text:
        raise RowRefused("it holds a NUL character")
    return text


def _first_line(lines: Lines) -> str:
    while (piece := lines.piece()) and not piece.strip():
        continue
    try:
        header = decode(piece).rstrip("\r\n")
    except RowRefused:
        header = "\r"
    if lines.is_cut(piece) or "\r" in header:
        raise SettingsError(
            "the list does not begin with a line of text in UTF-8",
            code="list_unreadable",
            hint="save it as “CSV UTF-8”; it begins with the names of the columns, and has a row a line",
        )
    return header


def _split(header: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([header], delimiter=separator, strict=True), [])
    except csv.Error:
        return []


def _known(names: list[str]) -> int:
    return len({*COLUMNS, *TOLD_ONLY}.intersection(name.strip().lower() for name in names))


def _records(lines: Lines, shape: _Shape) -> Iterator[tuple[int, bytes | Rejected]]:
    """Each row's bytes, with the line on which it begins."""
    while piece := lines.piece():
        if not lines.is_cut(piece):
            if b'"' not in piece or shape.whole.fullmatch(piece):
                if piece.strip():
                    yield lines.number, piece
                continue
            if not shape.opened.fullmatch(piece):
                yield lines.number, Rejected(lines.number, _BAD_QUOTES)
                continue
        first = lines.number
        yield first, _long_record(lines, shape, piece)


def _long_record(lines: Lines, shape: _Shape, piece: bytes) -> bytes | Rejected:
    """A row of more than one line, of which this is the first; or one that is too long, passed by to its end."""
    first, pieces, size = lines.number, [piece], len(piece)
    while not lines.is_cut(piece) and size <= MAX_ROW_BYTES:
        piece = lines.piece()
        if not piece:
            return _never_closed(first, lines.number)
        pieces.append(piece)
        size += len(piece)
        if b'"' not in piece:
            continue
        if shape.closing.fullmatch(piece) and not lines.is_cut(piece):
            return b"".join(pieces)
        if not shape.inside.fullmatch(piece) and not lines.is_cut(piece):
            return Rejected(first, f"{_BAD_QUOTES} (lines {first} to {lines.number} are this row)")
    quotes = sum(part.count(b'"') for part in pieces)
    while quotes % 2 or not piece.endswith(b"\n"):  # quotes come in pairs, also where they are doubled
        piece = lines.piece()
        if not piece:
            return _never_closed(first, lines.number) if quotes % 2 else Rejected(first, TOO_LONG)
        quotes += piece.count(b'"')
    until = f" (lines {first} to {lines.number} are this row)" if lines.number > first else ""
    return Rejected(first, TOO_LONG + until)


def _never_closed(first: int, last: int) -> Rejected:
    return Rejected(
        first,
        f"a quote is opened in it and never closed: all to the end of the file, line {last}, was taken for this row; "
        "correct it, and import the list again",
    )
