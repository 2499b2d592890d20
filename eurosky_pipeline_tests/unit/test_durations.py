"""Spans of time on the command line."""

from datetime import timedelta

import click
import pytest

from eurosky_pipeline.cli.durations import DURATION, parse_duration


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("36h", timedelta(hours=36)),
        (" 2D ", timedelta(days=2)),
        ("4w", timedelta(weeks=4)),
        ("0d", timedelta()),
    ],
)
def test_a_span_is_a_number_and_its_unit(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "2", "d", "-2d", "1.5h", "2 d", "2days", "٢d", "9999999999s", "36501d", "2d3h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no span|is more than"):
        parse_duration(text)


def test_as_an_option_it_is_a_bad_argument_that_is_named() -> None:
    with pytest.raises(click.BadParameter, match="'soon' is no span"):
        DURATION.convert("soon", None, None)
