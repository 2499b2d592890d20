"""A list in CSV: its header, its rows with their lines, and every row that is broken in a way of its own."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.csv_rows import read_csv
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import MAX_FIELD_BYTES, MAX_ROW_BYTES, Rejected, Row

HEADER = "did,handle,destination_password\n"
GOOD = "did:plc:a,a.example,secret\n"
VALUES = {"did": "did:plc:a", "handle": "a.example", "destination_password": "secret"}


def read(text: str | bytes) -> list[Row | Rejected]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_csv(Lines(io.BytesIO(data))))


def seen(rows: list[Row | Rejected]) -> list[tuple[int, str]]:
    """Each row's line, and what it was rejected for or that it was good."""
    return [(row.line, row.reason if isinstance(row, Rejected) else "good") for row in rows]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_commas_semicolons_and_tabs_separate_with_either_line_end_and_with_a_mark(
    separator: str, end: str, mark: str
) -> None:
    text = (HEADER + GOOD + GOOD).replace(",", separator).replace("\n", end)
    rows = read(mark + text)
    assert [(row.line, dict(row.values)) for row in rows if isinstance(row, Row)] == [(2, VALUES), (3, VALUES)]


def test_the_last_line_needs_no_end_and_empty_lines_are_no_rows() -> None:
    assert seen(read("\n" + HEADER + "\n" + GOOD + " \r\n" + GOOD.rstrip("\n"))) == [(4, "good"), (6, "good")]


def test_names_of_columns_may_be_in_any_case_and_order_and_quoted() -> None:
    (row,) = read('"Handle", DID\na.example,did:plc:a\n')
    assert isinstance(row, Row)
    assert row.values == {"handle": "a.example", "did": "did:plc:a"}


def test_quotes_keep_separators_quotes_spaces_and_line_ends_in_a_field_and_the_lines_are_counted() -> None:
    rows = read(HEADER + '"did:plc:a",,"a, ""b""\n c;"\n' + GOOD)
    assert isinstance(rows[0], Row)
    assert rows[0].values == {"did": "did:plc:a", "destination_password": 'a, "b"\n c;'}
    assert [row.line for row in rows] == [2, 4]


def test_what_is_empty_was_not_given_and_a_password_keeps_its_spaces() -> None:
    (row,) = read(HEADER + "did:plc:a,, pass word \n")
    assert isinstance(row, Row)
    assert row.values == {"did": "did:plc:a", "destination_password": " pass word "}


def test_a_row_shows_nothing_of_its_values() -> None:
    assert "secret" not in repr(read(HEADER + GOOD))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("did:plc:a,a.example\n", "it has 2 fields, and the header 3"),
        (GOOD.replace("\n", ",x\n"), "it has 4 fields"),
        ('did:plc:a,a.example,se"cret\n', "a quote stands within a field"),
        ('did:plc:a,"a.example"x,secret\n', "text after one that closes"),
        ('did:plc:a,"a.\nexample"x,secret\n', "lines 3 to 4 are this row"),
        ("did:plc:a,a.example,sec\0ret\n", "NUL"),
        (f"did:plc:a,a.example,{'x' * (MAX_FIELD_BYTES + 1)}\n", "64 KiB is the most"),
        (f'did:plc:a,a.example,"{"x" * (MAX_FIELD_BYTES + 1)}"\n', "64 KiB is the most"),
        (f"did:plc:a,a.example,{'x' * (3 * MAX_ROW_BYTES)}\n", "64 KiB is the most"),
        (f'did:plc:a,a.example,"{"x" * (3 * MAX_ROW_BYTES)}"\n', "64 KiB is the most"),
    ],
)
def test_a_bad_row_is_rejected_by_itself_with_its_line(bad: str, reason: str) -> None:
    before, row, after = read(HEADER + GOOD + bad + GOOD)
    assert isinstance(row, Rejected)
    assert reason in row.reason
    assert "secret" not in row.reason
    assert "xxx" not in row.reason
    assert (before.line, row.line, after.line) == (2, 3, 4 + (bad.count("\n") - 1))
    assert isinstance(before, Row)
    assert isinstance(after, Row)


def test_a_row_that_is_not_utf_8_is_rejected_and_the_next_is_not() -> None:
    rows = read(HEADER.encode() + GOOD.replace("secret", "gehe\u00edm").encode("latin-1") + GOOD.encode())
    assert seen(rows)[1] == (3, "good")
    assert "not in UTF-8" in seen(rows)[0][1]


def test_a_field_of_64_kib_is_taken_whole() -> None:
    (row,) = read(HEADER + f"did:plc:a,,{'x' * MAX_FIELD_BYTES}\n")
    assert isinstance(row, Row)
    assert len(row.values["destination_password"]) == MAX_FIELD_BYTES


def test_a_quoted_field_of_10_mb_with_rows_in_it_is_one_row_that_is_rejected_and_costs_no_memory() -> None:
    inside = (GOOD * 400_000)[: 10 * 1024 * 1024].encode()
    stream = io.BytesIO(HEADER.encode() + b'did:plc:a,"' + inside + b'",x\n' + GOOD.encode())
    tracemalloc.start()
    try:
        rejected, good = read_csv(Lines(stream))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(rejected, Rejected)
    assert (rejected.line, "is too long" in rejected.reason) == (2, True)
    assert isinstance(good, Row)
    assert good.line == 2 + inside.count(b"\n") + 1
    assert peak < 4 * MAX_ROW_BYTES


def test_a_line_of_10_mb_costs_no_memory_either() -> None:
    stream = io.BytesIO(HEADER.encode() + b"x" * 10 * 1024 * 1024 + b"\n" + GOOD.encode())
    tracemalloc.start()
    try:
        found = seen(list(read_csv(Lines(stream))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [line for line, _ in found] == [2, 3]
    assert peak < 4 * MAX_ROW_BYTES


def test_a_quote_that_is_never_closed_is_said_with_its_line_and_nothing_in_it_is_taken_for_rows() -> None:
    rows = read(HEADER + GOOD + 'did:plc:b,"b.example,secret\n' + GOOD * 3)
    assert [row.line for row in rows] == [2, 3]
    assert isinstance(rows[1], Rejected)
    assert "never closed" in rows[1].reason
    assert "line 6" in rows[1].reason


def test_many_short_lines_within_one_quote_take_linear_time() -> None:
    lines = '""\n' * (MAX_ROW_BYTES // 3 + 1000)
    rows = read(HEADER + f'did:plc:a,"{lines}",x\n' + GOOD)
    assert [type(row) for row in rows] == [Rejected, Row]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("did,handle,destination_pasword\n", "unknown: 'destination_pasword'"),
        ("did;handle;destination_pasword\n", "unknown: 'destination_pasword'"),
        ("did,handle,did\n", "there twice: 'did'"),
        ("source_pds,destination_pds\n", "neither a column did nor a column handle"),
        (GOOD, "does not begin with the names"),
        ("did:plc:a;a.example;secret\n", "does not begin with the names"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (HEADER.encode("utf-16-be"), "line of text"),
        ("", "is empty"),
        ("\n\n", "does not begin with"),
        (b"PK\x03\x04\x14\x00", "line of text"),
        (HEADER.replace("\n", "\r") + GOOD.replace("\n", "\r"), "line of text"),
        (b"did\xff,handle\n", "line of text"),
        ("did," + "x" * MAX_ROW_BYTES, "line of text"),
    ],
)
def test_a_header_that_is_none_is_an_error_before_any_row_and_repeats_no_row(text: str | bytes, phrase: str) -> None:
    with pytest.raises(SettingsError, match=phrase) as caught:
        read(text)
    assert "secret" not in caught.value.with_hint()
    assert caught.value.hint


def test_how_far_the_reading_is_is_told_in_bytes() -> None:
    told: list[int] = []
    data = ("\ufeff" + HEADER + GOOD * 3).encode()
    list(read_csv(Lines(io.BytesIO(data), told.append)))
    assert sum(told) == len(data)
