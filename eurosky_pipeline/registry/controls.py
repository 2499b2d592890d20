"""What the queue of runs, and who works on one, puts down for all other processes to see.

The queue says that it has seen the pause: until then it may be launching what it had chosen before. And who works on a
run says so here first, since two daemons may launch the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError

from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.desk import Desk
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.pause import PAUSE_SEEN, Pause
from eurosky_pipeline.registry.tables import controls, migrations
from eurosky_pipeline.settings import Settings

_CLAIM: Final = "run:"
_CLAIM_DIGITS: Final = 28  # of the 32 characters that a name has
_CLAIM_LIFETIME: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base URLs between which a migration moves."""

    source_pds: str
    destination_pds: str


class Controls(Desk):
    """What the queue of runs asks of the registry."""

    @patient
    def see(self, pause: Pause) -> None:
        """Put down that the queue heeds this pause from now on. To see it twice is no error."""
        set_control(self._engine, PAUSE_SEEN, pause.since.isoformat(), _now())

    @patient
    def is_seen(self, pause: Pause) -> bool:
        """Whether the queue has said so of this very pause."""
        with self._engine.connect() as connection:
            return _read(connection, PAUSE_SEEN) == pause.since.isoformat()

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


def _read(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(select(controls.c.value).where(controls.c.name == name)).scalar()
    return found


def _now() -> datetime:
    return datetime.now(UTC)
