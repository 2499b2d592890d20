"""Which blobs did not arrive, and why, with a record that names each: in the frame, in the terminal and on the page."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from eurosky_pipeline import analytics
from eurosky_pipeline.analytics.account import account_report
from eurosky_pipeline.analytics.columns import NOT_ARRIVED
from eurosky_pipeline.artifacts.tables import written_csv
from eurosky_pipeline.artifacts.workspace import MANIFEST_CSV, Workspace
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.transfer.manifest import COLUMNS
from eurosky_pipeline_tests.unit.test_analytics import BEGAN, add, blob, dtypes, lost, said
from eurosky_pipeline_tests.unit.test_report_command import run

POST = "app.bsky.feed.post/3jwi32ue5bb22"
CORRUPT = blob(
    2,
    Outcome.CORRUPT_AT_SOURCE,
    size_bytes=0,
    mime_type="",
    error_code="corrupt_at_source",
    error_text="old.example sent 9 bytes that do not hash to it",
)


@pytest.fixture
def token(registry: Registry, settings: Settings) -> str:
    """A migration with two blobs that did not arrive; records name one of them, the source alone lists the other."""
    token = add(registry, "one")
    registry.record(token, {"blobs_total": 3}, [blob(1), CORRUPT, lost(3)])
    workspace = Workspace(settings.home, settings.resolved_artifacts, token)
    with written_csv(workspace.scratch(MANIFEST_CSV), list(COLUMNS)) as write:
        write([str(blob(1).blob_cid), "image/png", 1001, True, False, True, 1, "app.bsky.actor.profile/self"])
        write([str(CORRUPT.blob_cid), "image/gif", 2048, True, False, True, 4, POST])
        write([str(lost(3).blob_cid), None, None, False, False, True, 0, None])
    workspace.keep(MANIFEST_CSV)
    return token


def test_each_blob_that_did_not_arrive_has_its_reason_and_a_record_that_names_it(
    token: str, settings: Settings
) -> None:
    frame = analytics.not_arrived(token, settings=settings)
    assert dtypes(frame) == said(NOT_ARRIVED)
    assert list(frame["blob_cid"]) == [str(CORRUPT.blob_cid), str(lost(3).blob_cid)]
    first, second = (frame.iloc[place] for place in (0, 1))
    assert first.to_list()[1:] == [
        "corrupt_at_source",
        "corrupt_at_source",
        CORRUPT.error_text,
        POST,
        4,
        "image/gif",
        2048,
    ]
    assert (second["outcome"], second["reason"], second["records"]) == ("missing_at_source", "3 is gone", 0)
    assert second[["named_by", "mime_type", "size_bytes"]].isna().all()


def test_no_more_rows_than_asked_for(token: str, settings: Settings) -> None:
    assert list(analytics.not_arrived(token, limit=1, settings=settings)["named_by"]) == [POST]


def test_without_a_manifest_the_reasons_are_told_all_the_same(registry: Registry, settings: Settings) -> None:
    other = add(registry, "two")
    registry.record(other, {}, [lost(5)])
    frame = analytics.not_arrived(other, settings=settings)
    assert list(frame["reason"]) == ["5 is gone"]
    assert frame[["named_by", "records", "mime_type", "size_bytes"]].isna().all(axis=None)


def test_a_manifest_that_was_damaged_is_not_believed(token: str, settings: Settings) -> None:
    kept = Path(str(settings.resolved_artifacts)) / token / MANIFEST_CSV
    text = kept.read_text()
    kept.unlink()
    kept.write_text(text.replace(POST, POST[::-1]))
    assert analytics.not_arrived(token, settings=settings)["named_by"].isna().all()


@pytest.mark.parametrize("data", [b"\xff\xfe\x00garbage\n1", b"a,b\n1,2\n", b"blob_cid,mime_type\n"])
def test_nor_is_one_whose_checksum_has_gone(token: str, settings: Settings, data: bytes) -> None:
    folder = Path(str(settings.resolved_artifacts)) / token
    (folder / f"{MANIFEST_CSV}.sha256").unlink()
    (folder / MANIFEST_CSV).write_bytes(data)
    assert analytics.not_arrived(token, settings=settings)["named_by"].isna().all()


def test_where_all_arrived_there_is_no_row_and_nothing_is_looked_for(registry: Registry, settings: Settings) -> None:
    other = add(registry, "two")
    registry.record(other, {}, [blob(1)])
    frame = analytics.not_arrived(other, settings=settings)
    assert (len(frame), dtypes(frame)) == (0, said(NOT_ARRIVED))
    assert not (Path(str(settings.resolved_artifacts)) / other).exists()


@pytest.mark.usefixtures("settings_in_environment")
def test_the_report_has_blob_record_and_reason_below_each_other(
    token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "report", token)[1].splitlines()
    place = lines.index(f"{CORRUPT.blob_cid}  corrupt_at_source  image/gif, 2.0 KiB")
    assert lines[place + 1 : place + 3] == [f"    {POST}", f"    {CORRUPT.error_text}"]
    assert lines[place + 3 : place + 5] == [f"{lost(3).blob_cid}  missing_at_source", "    3 is gone"]
    found = json.loads(run(capsys, "report", token, "--json", "--html", str(tmp_path / "r.html"))[1])
    assert [(row["named_by"], row["reason"]) for row in found["not_there"]] == [
        (POST, CORRUPT.error_text),
        (None, "3 is gone"),
    ]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", unescape((tmp_path / "r.html").read_text()))
    place = cells.index(POST)
    assert cells[place - 2 : place + 3] == [
        str(CORRUPT.blob_cid),
        "corrupt_at_source",
        POST,
        "image/gif, 2.0 KiB",
        CORRUPT.error_text,
    ]


def test_blobs_under_way_at_once_are_counted_over_all_that_were_tried(registry: Registry, settings: Settings) -> None:
    """One that fails after long must not be divided by the time that the others took."""
    slow = lost(1, ended_at=BEGAN + timedelta(seconds=10))
    registry.record(token := add(registry, "two"), {}, [blob(0), slow])
    assert account_report(token, settings=settings).under_way == pytest.approx((2 + 9) / 10)
