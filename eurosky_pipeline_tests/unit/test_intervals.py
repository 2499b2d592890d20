"""The interval by which a transfer's throughput is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eurosky_pipeline.analytics.intervals import MOST_BARS, STEPS, readable_interval, transfer_took
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.test_analytics import add, blob, lost


@pytest.mark.parametrize(
    ("took", "interval"),
    [
        (timedelta(0), timedelta(seconds=1)),
        (timedelta(seconds=17), timedelta(seconds=1)),
        (timedelta(seconds=60), timedelta(seconds=1)),
        (timedelta(seconds=61), timedelta(seconds=2)),
        (timedelta(minutes=8), timedelta(seconds=10)),
        (timedelta(hours=1), timedelta(minutes=1)),
        (timedelta(hours=10), timedelta(minutes=10)),
        (timedelta(days=2), timedelta(hours=1)),
        (timedelta(days=400), timedelta(days=1)),
    ],
    ids=str,
)
def test_the_interval_follows_from_how_long_it_took(took: timedelta, interval: timedelta) -> None:
    assert readable_interval(took) == interval


@pytest.mark.parametrize("took_s", [61, 90, 121, 301, 1_000, 5_000, 7_201, 50_000, 300_000, 3_000_000])
def test_the_bars_are_neither_few_nor_more_than_can_be_read(took_s: int) -> None:
    bars = timedelta(seconds=took_s) / readable_interval(timedelta(seconds=took_s))
    assert MOST_BARS / 2.5 < bars <= MOST_BARS


def test_every_interval_begins_at_a_round_time_of_the_day() -> None:
    assert list(STEPS) == sorted(STEPS)
    assert all(timedelta(days=1) % step == timedelta(0) for step in STEPS)


def test_a_transfer_lasts_from_the_first_beginning_to_the_last_end(settings: Settings, registry: Registry) -> None:
    token, other = add(registry, "one"), add(registry, "two")
    assert transfer_took(token, settings=settings) == timedelta(0)
    registry.record(token, {}, [blob(3), lost(8), blob(0, Outcome.ALREADY_THERE, started_at=None, ended_at=None)])
    registry.record(other, {}, [blob(500)])
    assert transfer_took(token, settings=settings) == timedelta(seconds=7)
