"""How finely a transfer's throughput is told, where nobody has said: so that a person sees its course in some bars."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import func, select

from eurosky_pipeline.analytics.reading import opened
from eurosky_pipeline.registry import tables
from eurosky_pipeline.settings import Settings

MOST_BARS: Final = 60
_SECONDS: Final = (1, 2, 5, 10, 20, 30)
_MINUTES: Final = (1, 2, 5, 10, 15, 30)
_HOURS: Final = (1, 2, 4, 6, 12)
STEPS: Final = (
    *(timedelta(seconds=count) for count in _SECONDS),
    *(timedelta(minutes=count) for count in _MINUTES),
    *(timedelta(hours=count) for count in _HOURS),
    timedelta(days=1),
)
"""Intervals that people read easily, shortest first; each begins at a round time of the day."""


def readable_interval(took: timedelta) -> timedelta:
    """The shortest of `STEPS` of which at most `MOST_BARS` make up that time; the longest where none is long enough."""
    return next((step for step in STEPS if took <= step * MOST_BARS), STEPS[-1])


def transfer_took(token: str, *, settings: Settings | None = None) -> timedelta:
    """From the beginning of a migration's first blob to the end of its last one, whether they arrived or not; pauses
    between runs included. Zero where none was tried. Raises SettingsError: there is no registry."""
    table = tables.blobs.c
    query = select(func.min(table.started_at), func.max(table.ended_at)).where(table.token == token)
    with opened(settings) as engine, engine.connect() as connection:
        began, ended = connection.execute(query).one()
    return timedelta(0) if began is None or ended is None else max(ended - began, timedelta(0))
