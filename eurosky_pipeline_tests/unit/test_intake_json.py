"""A list in JSON Lines."""

from __future__ import annotations

import io
import json

import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.json_rows import read_json_lines
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import MAX_FIELD_BYTES, MAX_ROW_BYTES, Rejected, Row

GOOD = '{"did": "did:plc:a", "destination_password": "secret"}\n'


def read(text: str | bytes) -> list[Row | Rejected]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_json_lines(Lines(io.BytesIO(data))))


def test_an_object_a_line_and_null_was_not_given() -> None:
    rows = read('\ufeff{"did": "did:plc:a", "handle": null, "convert_legacy_blobs": true, "state": 7}\r\n\n' + GOOD)
    assert [(row.line, dict(row.values)) for row in rows if isinstance(row, Row)] == [
        (1, {"did": "did:plc:a", "convert_legacy_blobs": "true"}),
        (3, {"did": "did:plc:a", "destination_password": "secret"}),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"did": "did:plc:a", \n', "not JSON"),
        ('["did:plc:a", "secret"]\n', "not a JSON object"),
        ('{"did": "did:plc:a", "destination_pasword": "secret"}\n', "'destination_pasword'"),
        ('{"did": "did:plc:a", "did": "did:plc:b"}\n', "twice"),
        ('{"did": 7}\n', "did is neither a text"),
        ('{"did": {"secret": 1}}\n', "did is neither a text"),
        ('{"destination_password": "\\ud800secret"}\n', "character that no text has"),
        ('{"destination_password": "\\u0000secret"}\n', "character that no text has"),
        ('{"destination_password": ' + "9" * 5000 + "}\n", "not JSON"),
        ("[" * 100_000 + "\n", "not JSON"),
        (json.dumps({"destination_password": "x" * (MAX_FIELD_BYTES + 1)}) + "\n", "too long"),
        ('{"destination_password": "' + "x" * 3 * MAX_ROW_BYTES + '"}\n', "too long"),
    ],
)
def test_a_bad_line_is_rejected_by_itself(bad: str, reason: str) -> None:
    before, row, after = read(GOOD + bad + GOOD)
    assert isinstance(row, Rejected)
    assert reason in row.reason
    assert "secret" not in row.reason
    assert (before.line, row.line, after.line) == (1, 2, 3)
    assert isinstance(after, Row)


def test_a_line_that_is_not_utf_8_is_rejected() -> None:
    rows = read(GOOD.encode() + b'{"handle": "\xff"}\n')
    assert isinstance(rows[1], Rejected)
    assert "UTF-8" in rows[1].reason


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ('{"did": "did:plc:a", "pasword": "secret"}\n', "unknown: 'pasword'"),
        ("[" + GOOD + "]", "JSON array"),
    ],
)
def test_a_first_object_like_no_list_s_is_an_error_before_anything_is_added(text: str, phrase: str) -> None:
    with pytest.raises(SettingsError, match=phrase):
        read(text)
