"""Blobs that the reconciliation has missed, whatever the ledger says: counted, named and explained, all alike."""

from __future__ import annotations

import json
from html import unescape
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from eurosky_pipeline import analytics
from eurosky_pipeline.analytics import plots
from eurosky_pipeline.analytics.absent import MISSING, REASONS, UNKNOWN
from eurosky_pipeline.analytics.account import account_report
from eurosky_pipeline.analytics.columns import NOT_ARRIVED
from eurosky_pipeline.analytics.page import account_page
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.test_analytics import add, blob, dtypes, lost, said
from eurosky_pipeline_tests.unit.test_report_command import run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENT, FOUND, LOST, UNHEARD_OF = blob(2), blob(3, Outcome.ALREADY_THERE), lost(4, size_bytes=0), blob(5)


def named(*blobs: BlobOutcome) -> dict[str, object]:
    return {"failed_blobs": [str(each.blob_cid) for each in blobs], "reconciliation_status": "partial"}


@pytest.fixture
def token(registry: Registry) -> str:
    """Of five blobs, one is there: two that seemed to be are not, one was lost on the way, one is in no ledger."""
    token = add(registry, "one")
    registry.record(token, named(SENT, FOUND, LOST, UNHEARD_OF), [blob(1), SENT, FOUND, LOST])
    return token


def test_what_was_sent_and_is_missing_did_not_arrive(token: str, settings: Settings) -> None:
    frame = analytics.not_arrived(token, settings=settings)
    assert dtypes(frame) == said(NOT_ARRIVED)
    rows = dict(zip(frame["blob_cid"], zip(frame["outcome"], frame["reason"], strict=True), strict=True))
    assert rows == {
        str(SENT.blob_cid): (MISSING, REASONS[MISSING]),
        str(FOUND.blob_cid): (MISSING, REASONS[MISSING]),
        str(LOST.blob_cid): ("missing_at_source", "4 is gone"),
        str(UNHEARD_OF.blob_cid): (UNKNOWN, REASONS[UNKNOWN]),
    }
    assert len(frame) == len(rows)
    assert list(frame["outcome"]) == sorted(frame["outcome"])
    assert frame["error_code"].dropna().to_list() == ["blob_missing"]
    assert list(analytics.not_arrived(token, limit=3, settings=settings)["blob_cid"]) == list(frame["blob_cid"])[:3]


def test_figures_count_it_as_not_there(token: str, registry: Registry, settings: Settings) -> None:
    other = add(registry, "two")
    registry.record(other, named(SENT), [SENT, blob(7)])
    rate, both = (analytics.success_rate(which, settings=settings) for which in (token, None))
    assert ((rate.part, rate.whole), (both.part, both.whole)) == ((1, 5), (2, 7))
    frame = analytics.failures_by_class(token, settings=settings)
    assert frame[["outcome", "blobs", "size_bytes"]].to_numpy().tolist() == [
        [MISSING, 2, 1002 + 1003],
        ["missing_at_source", 1, 0],
        [UNKNOWN, 1, 0],
    ]
    assert frame["error_code"].isna().tolist() == [True, False, True]
    chosen = analytics.Wanted(created_after=registry.get(other).created_at)
    assert analytics.failures_by_class(chosen, settings=settings)["blobs"].to_list() == [1]
    assert analytics.success_rate(chosen, settings=settings).share == 0.5


@pytest.mark.parametrize("value", [None, [], "none", 3, {}], ids=repr)
def test_a_list_that_is_none_names_nothing(registry: Registry, settings: Settings, value: object) -> None:
    token = add(registry, "one")
    registry.record(token, {"failed_blobs": value}, [blob(1), LOST])
    rate = analytics.success_rate(token, settings=settings)
    assert (rate.part, rate.whole) == (1, 2)
    assert list(analytics.not_arrived(token, settings=settings)["blob_cid"]) == [str(LOST.blob_cid)]


@pytest.mark.usefixtures("settings_in_environment")
def test_the_report_agrees_with_what_migrations_show_says(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(CliRunner().invoke(migrations, ["show", token, "--all-blobs", "--json"]).stdout)
    found = json.loads(run(capsys, "report", token, "--json")[1])
    expected = {(row["blob_cid"], row["outcome"], row["error"]) for row in shown["blobs_not_transferred"]}
    assert {(row["blob_cid"], row["outcome"], row["reason"]) for row in found["not_there"]} == expected
    assert len(expected) == shown["blobs_not_transferred_count"] == 4
    assert (found["blobs"]["at_destination"], found["blobs"]["tried"]) == (1, 5)
    sizes = {row["blob_cid"]: row["size_bytes"] for row in shown["blobs_not_transferred"]}
    assert (sizes[str(SENT.blob_cid)], sizes[str(LOST.blob_cid)], sizes[str(UNHEARD_OF.blob_cid)]) == (1002, None, None)


@pytest.mark.usefixtures("settings_in_environment")
def test_nobody_is_told_that_all_arrived_where_what_was_sent_is_missing(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(registry, "one")
    registry.record(token, named(SENT), [blob(1), SENT])
    words = run(capsys, "report", token)[1]
    drawn: list[Figure] = []
    for name in ("throughput", "workers", "blob_sizes", "blob_durations", "durations"):
        monkeypatch.setattr(plots, name, lambda *_: None)  # each takes a while
    monkeypatch.setattr(plots, "as_svg", lambda figure: str(drawn.append(figure) or "") if figure else "")
    page = unescape(account_page(account_report(token, settings=settings)))
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert MISSING in labels, "and no code beside it"
    for told in (words, page):
        assert "1 of 2 that were tried (50.0%)" in told
        assert str(SENT.blob_cid) in told
        assert REASONS[MISSING] in told
        assert "every blob" not in told
        assert "None" not in told
    stats = run(capsys, "stats")[1]
    assert "1 of 2 that were tried (50.00%)" in stats
    assert MISSING in stats


@pytest.mark.usefixtures("settings_in_environment")
def test_a_size_that_nobody_knows_is_not_shown_as_none_at_all(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.record(add(registry, "one"), {}, [LOST])
    row = next(line for line in run(capsys, "stats")[1].splitlines() if "4 is gone" in line)
    assert "–" in row
    assert "0 B" not in row
