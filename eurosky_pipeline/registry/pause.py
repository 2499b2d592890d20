"""The pause, in which nothing new starts and what runs ends: one row, for all migrations at once.

Whoever starts something asks here first: the queue of runs, the sensors, `eurosky migrate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.tables import controls
from eurosky_pipeline.words import squeezed

MAX_NOTE: Final = 500
"""Characters of the words that a pause is kept with."""
PAUSE: Final = "pause"
PAUSE_SEEN: Final = "pause_seen"
"""Names of rows; of the second, the queue's word that it heeds the pause, there is none without the first."""


class PausedError(ConflictError):
    """Nothing may start before somebody resumes."""

    default_code = "paused"


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when nothing new starts, and the words of who wanted it so; they may be empty."""

    since: datetime
    note: str = ""

    def __str__(self) -> str:
        return f"paused since {self.since:%Y-%m-%d %H:%M:%S} UTC{f': {self.note}' if self.note else ''}"


def read_pause(connection: Connection) -> Pause | None:
    """As `Desk.paused`, in the caller's transaction."""
    row = connection.execute(select(controls.c.set_at, controls.c.value).where(controls.c.name == PAUSE)).first()
    return None if row is None else Pause(row.set_at, row.value)


def begin_pause(engine: Engine, note: str, now: datetime) -> Pause:
    """As `Registry.pause`; may be done twice."""
    words = squeezed(note, MAX_NOTE)
    try:
        with engine.begin() as connection:
            before = read_pause(connection)
            if before is None:
                connection.execute(insert(controls).values(name=PAUSE, value=words, set_at=now))
                return Pause(now, words)
            if not words:
                return before
            connection.execute(update(controls).where(controls.c.name == PAUSE).values(value=words))
            return Pause(before.since, words)
    except DatabaseIntegrityError:  # another has begun one at this very moment: it is there now
        return begin_pause(engine, note, now)


def end_pause(connection: Connection) -> Pause | None:
    """As `Registry.end_pause`, in the caller's transaction."""
    before = read_pause(connection)
    connection.execute(delete(controls).where(controls.c.name.in_([PAUSE, PAUSE_SEEN])))
    return before


def paused_error(pause: Pause) -> PausedError:
    """What is said to who would start something."""
    return PausedError(f"nothing is started: {pause}", hint="`eurosky resume` ends the pause")
