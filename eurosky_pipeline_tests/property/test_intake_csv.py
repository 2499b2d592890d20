"""Reading CSV against the standard library's reader and writer, and against bytes that mean nothing."""

from __future__ import annotations

import csv
import io
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.csv_rows import read_csv
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import Rejected, Row

NAMES = ["did", "handle", "destination_password"]
FIELDS = st.text(st.one_of(st.sampled_from(list(',;\t"\n\r a')), st.characters(codec="utf-8")), max_size=12).filter(
    lambda text: "\0" not in text
)


@given(
    rows=st.lists(st.lists(FIELDS, min_size=3, max_size=3).filter(any), max_size=8),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_standard_writer_writes_is_read_back_with_its_lines(
    rows: list[list[str]], separator: str, end: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    expected: list[tuple[int, list[str]]] = []
    for fields in [NAMES, *rows]:
        expected.append((text.getvalue().count("\n") + 1, fields))
        writer.writerow(fields)
    found = list(read_csv(Lines(io.BytesIO(text.getvalue().encode()))))
    assert [(row.line, [row.values.get(name, "") for name in NAMES]) for row in found if isinstance(row, Row)] == (
        expected[1:]
    )


@given(st.lists(st.sampled_from([b"a", b",", b";", b'"', b'""', b"\n", b"\r\n", b"\xff", b"\0", "é".encode()])))
def test_any_bytes_are_rows_or_rejected_and_no_line_is_told_twice(parts: list[bytes]) -> None:
    data = b"did,handle\n" + b"".join(parts)
    found = list(read_csv(Lines(io.BytesIO(data))))
    lines = [row.line for row in found]
    assert lines == sorted(set(lines))
    assert all(line <= data.count(b"\n") + 1 for line in lines)
    assert all(row.reason.isprintable() for row in found if isinstance(row, Rejected))


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused_in_words(data: bytes) -> None:
    with suppress(SettingsError):
        list(read_csv(Lines(io.BytesIO(data))))
