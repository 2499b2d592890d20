"""Spans of time as people write them on the command line: `90s`, `15m`, `36h`, `2d`, `4w`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

_SPAN = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_UNIT: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
LONGEST: Final = timedelta(days=36_500)
"""A hundred years: what is subtracted from now still is a date."""


def parse_duration(text: str) -> timedelta:
    """A whole number and its unit: s, m (minutes), h, d or w. Raises ValueError, whose text is for people."""
    span = _SPAN.fullmatch(text.strip().lower())
    if span is None:
        raise ValueError("is no span of time like 90s, 15m, 36h, 2d or 4w")
    if (found := int(span[1]) * _UNIT[span[2]]) > LONGEST:
        raise ValueError(f"is more than {LONGEST.days} days")
    return found


if TYPE_CHECKING:
    _Type = click.ParamType[timedelta]
else:
    _Type = click.ParamType


class DurationType(_Type):
    """`parse_duration` as the type of an option; what it cannot read is a bad argument (exit code 2)."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{str(value)[:40]!r} {error}", param, ctx)


DURATION: Final = DurationType()
