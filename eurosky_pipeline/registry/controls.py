"""What a person has set for all migrations at once: the pause, in which nothing new starts and what runs ends.

Whoever starts something asks here first: the queue of runs, the sensors, `eurosky migrate`. The queue answers, too,
that it has seen the pause: until then it may be launching what it had chosen before. And who works on a run says so
here first, since two daemons may launch the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.tables import controls, migrations
from eurosky_pipeline.settings import Settings

MAX_NOTE: Final = 500
"""Characters of the words that a pause is kept with."""
_PAUSE: Final = "pause"
_SEEN: Final = "pause_seen"
_CLAIM: Final = "run:"
_CLAIM_DIGITS: Final = 28  # of the 32 characters that a name has
_CLAIM_LIFETIME: Final = timedelta(days=3)


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


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base URLs between which a migration moves."""

    source_pds: str
    destination_pds: str


class Desk:
    """The registry for who runs migrations and needs no key to the passwords, and has none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        self._engine.dispose()

    @patient
    def paused(self) -> Pause | None:
        """The pause, if there is one."""
        with self._engine.connect() as connection:
            return read_pause(connection)


class Controls(Desk):
    """What the queue of runs asks of the registry."""

    @patient
    def see(self, pause: Pause) -> None:
        """Put down that the queue heeds this pause from now on. To see it twice is no error."""
        set_control(self._engine, _SEEN, pause.since.isoformat(), _now())

    @patient
    def is_seen(self, pause: Pause) -> bool:
        """Whether the queue has said so of this very pause."""
        with self._engine.connect() as connection:
            return _read(connection, _SEEN) == pause.since.isoformat()

    def claim_run(self, run_id: str, worker: str) -> bool:
        """Whether the run is this worker's: of several that come for it, one gets it. Claiming it again is no error."""
        return claim_run(self._engine, run_id, worker, _now())

    @patient
    def hosts_of(self, token: str) -> Hosts | None:
        """Between which hosts a migration moves; None if there is no such migration."""
        query = select(migrations.c.source_pds, migrations.c.destination_pds).where(migrations.c.token == token)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Hosts(*row)


def open_controls(settings: Settings, *, patience_s: float = 0) -> Controls:
    """Args, Raises: as `database.open_engine`."""
    return Controls(open_engine(settings, patience_s=patience_s))


def read_pause(connection: Connection) -> Pause | None:
    """As `Controls.paused`, in the caller's transaction."""
    row = connection.execute(select(controls.c.set_at, controls.c.value).where(controls.c.name == _PAUSE)).first()
    return None if row is None else Pause(row.set_at, row.value)


def begin_pause(engine: Engine, note: str, now: datetime) -> Pause:
    """As `Registry.pause`; may be done twice."""
    words = one_line(note)
    try:
        with engine.begin() as connection:
            before = read_pause(connection)
            if before is None:
                connection.execute(insert(controls).values(name=_PAUSE, value=words, set_at=now))
                return Pause(now, words)
            if not words:
                return before
            connection.execute(update(controls).where(controls.c.name == _PAUSE).values(value=words))
            return Pause(before.since, words)
    except DatabaseIntegrityError:  # another has begun one at this very moment: it is there now
        return begin_pause(engine, note, now)


def end_pause(connection: Connection) -> Pause | None:
    """As `Registry.end_pause`, in the caller's transaction."""
    before = read_pause(connection)
    connection.execute(delete(controls).where(controls.c.name.in_([_PAUSE, _SEEN])))
    return before


def set_control(engine: Engine, name: str, value: str, now: datetime) -> None:
    """Put a value in place of the one that stands there, whoever else does the same."""
    values = {"value": value, "set_at": now}
    try:
        with engine.begin() as connection:
            if not connection.execute(update(controls).where(controls.c.name == name).values(**values)).rowcount:
                connection.execute(insert(controls).values(name=name, **values))
    except DatabaseIntegrityError:
        set_control(engine, name, value, now)


@patient
def claim_run(engine: Engine, run_id: str, worker: str, now: datetime) -> bool:
    """As `Controls.claim_run`. What was claimed long ago is deleted: no run is launched twice after days."""
    name = f"{_CLAIM}{hashlib.sha256(run_id.encode()).hexdigest()[:_CLAIM_DIGITS]}"
    try:
        with engine.begin() as connection:
            connection.execute(
                delete(controls).where(controls.c.name.startswith(_CLAIM), controls.c.set_at < now - _CLAIM_LIFETIME)
            )
            connection.execute(insert(controls).values(name=name, value=worker, set_at=now))
    except DatabaseIntegrityError:
        with engine.connect() as connection:
            return _read(connection, name) == worker
    return True


def one_line(note: str) -> str:
    """A person's words as they are kept and shown: on one line, with nothing in it that a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in note).split())[:MAX_NOTE]


def paused_error(pause: Pause) -> PausedError:
    """What is said to who would start something."""
    return PausedError(f"nothing is started: {pause}", hint="`eurosky resume` ends the pause")


def _read(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(select(controls.c.value).where(controls.c.name == name)).scalar()
    return found


def _now() -> datetime:
    return datetime.now(UTC)
