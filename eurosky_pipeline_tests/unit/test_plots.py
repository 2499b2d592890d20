"""What the pictures show: their words and their figures, asked of matplotlib."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from eurosky_pipeline.analytics import plots
from eurosky_pipeline_tests.unit.test_analytics import BEGAN


def lengths(axes: Any) -> list[float]:
    return [bar.get_width() for bar in axes.patches]


def words(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_reason_is_named_once_where_outcome_and_code_are_the_same() -> None:
    by_class = pd.DataFrame(
        [("missing_at_source", "missing_at_source", 4), ("failed", "host_down", 2), ("failed", "", 1)],
        columns=["outcome", "error_code", "blobs"],
    )
    axes = plots.failures(by_class).axes[0]
    assert words(axes.yaxis) == ["failed", "failed: host_down", "missing_at_source"]
    assert lengths(axes) == [1, 2, 4]


@pytest.mark.parametrize(("lost", "legend"), [(0, None), (2, ["arrived", "did not arrive"])])
def test_blobs_that_did_not_arrive_are_told_from_those_that_did(lost: int, legend: list[str] | None) -> None:
    outcomes = ["transferred"] * 5 + ["failed"] * lost
    blobs = pd.DataFrame({"outcome": outcomes, "attempts": 2, "duration_s": [0.1] * 5 + [15.0] * lost})
    axes = plots.blob_durations(blobs).axes[0]
    found = axes.get_legend()
    assert (found and [text.get_text() for text in found.get_texts()]) == legend
    assert sum(bar.get_height() for bar in axes.patches) == len(blobs)


def test_the_forecast_counts_on_those_that_are_pending_and_no_others() -> None:
    states = ["pending_prefs"] * 2 + ["pending_repo", "pending_blobs", "failed", "cancelled", "waiting"]
    ended = pd.Series([BEGAN, BEGAN + timedelta(minutes=1), *[pd.NaT] * 5])
    migrations = pd.DataFrame({"state": states, "blobs_completed_at": pd.to_datetime(ended, utc=True)})
    axes = plots.finished(migrations, BEGAN + timedelta(minutes=3)).axes[0]
    done, registered, forecast = (list(line.get_ydata()) for line in axes.lines)
    assert (done, set(registered), forecast) == ([0, 1, 2], {7}, [2, 4])


def test_one_run_is_bars_with_their_seconds_and_several_are_boxes() -> None:
    assets = ["exported_car", "transferred_blobs"]
    one = pd.DataFrame({"asset": assets, "duration_s": [0.5, 18.6]})
    axes = plots.durations(one).axes[0]
    assert sorted(lengths(axes)) == [0.5, 18.6]
    assert sorted(text.get_text().strip() for text in axes.texts) == ["0.5 s", "19 s"]
    several = plots.durations(pd.concat([one, one])).axes[0]
    assert set(words(several.yaxis)) == set(assets)
    assert "median" in several.get_xlabel()


def test_months_without_a_record_keep_their_place() -> None:
    moments = pd.to_datetime(["2022-11-17", "2023-02-01", "2023-02-28"], utc=True)
    axes = plots.records_by_month(pd.DataFrame({"collection": "app.bsky.feed.post", "created_at": moments})).axes[0]
    assert words(axes.xaxis) == ["2022-11", "2022-12", "2023-01", "2023-02"]
    assert [bar.get_height() for bar in axes.patches] == [1, 0, 0, 2]
