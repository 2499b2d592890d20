"""What nobody works on although somebody should: runs that vanished, starts in vain, passwords past their time; and
putting the rows right. For the sensors, which need no key to the passwords for that, and have none.

Every change looks again, in its own transaction, whether the row still is what was found: two sensors, or a run that
lives after all, cannot both win.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, or_, select, update

from eurosky_pipeline.errors import EuroskyError, FatalError
from eurosky_pipeline.registry.attempts import RUN_LOST, end_lost_attempt
from eurosky_pipeline.registry.cancellation import fulfil_wishes, is_held, locked_row
from eurosky_pipeline.registry.credentials import CREDENTIAL_LIFETIME
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.desk import Desk
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.moves import Stopped, move, stop
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.states import RESTART, State
from eurosky_pipeline.registry.tables import attempts, credentials, migrations
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.registry.wishes import STARTABLE
from eurosky_pipeline.settings import Settings

MAX_LOST_IN_A_ROW = 3
"""After so many runs that vanished, one after the other, the migration is failed: it may be what ends them."""


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that has not ended. `lease_expires_at` is None where nobody, or not this run, holds the migration."""

    token: str
    number: int
    run_id: str
    state: State
    lease_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class PutRight:
    """What has become of a migration whose run was lost.

    Attributes:
        lost_in_a_row: how many of its runs have vanished, one after the other, this one included.
        is_wanted: it wants to be started again.
    """

    migration: Migration
    lost_in_a_row: int
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Unusable:
    """A migration that is under way and has no password for the destination, or not for long.

    Attributes:
        expires_at: None where there is none any more.
    """

    token: str
    state: State
    expires_at: datetime | None
    is_wanted: bool


class Watch(Desk):
    """What the sensors ask of the registry, and what they change."""

    @patient
    def by_token(self, tokens: Collection[str]) -> dict[str, Migration]:
        """Those of these migrations that there are, by token; some hundred at a time."""
        query = select(migrations).where(migrations.c.token.in_(list(tokens)))
        with self._engine.connect() as connection:
            return {row["token"]: Migration.from_row(row) for row in connection.execute(query).mappings()}

    @patient
    def begun(self, run_ids: Collection[str]) -> dict[str, tuple[datetime | None, str | None]]:
        """Of these runs those that have begun to work on a migration: when that ended, and with which error's code."""
        columns = attempts.c
        query = select(columns.holder, columns.ended_at, columns.error_code).where(columns.holder.in_(list(run_ids)))
        with self._engine.connect() as connection:
            return {row.holder: (row.ended_at, row.error_code) for row in connection.execute(query)}

    @patient
    def open_attempts(self, limit: int, after: str = "") -> list[OpenAttempt]:
        """Attempts that have not ended, by token, of tokens behind `after`: of what runs, and of what vanished."""
        columns, own = attempts.c, migrations.c.lease_holder == attempts.c.holder
        query = (
            select(
                columns.token,
                columns.number,
                columns.holder,
                migrations.c.state,
                migrations.c.lease_holder,
                migrations.c.lease_expires_at,
            )
            .join(migrations, migrations.c.token == columns.token)
            # an attempt that has not ended is its migration's newest one: where another run has taken over it has ended
            .where(columns.ended_at.is_(None), columns.token > after)
            .where(or_(own, migrations.c.lease_expires_at.is_(None)))
            .order_by(columns.token, columns.number)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [
                OpenAttempt(
                    row.token,
                    row.number,
                    row.holder,
                    State(row.state),
                    row.lease_expires_at if row.lease_holder == row.holder else None,
                )
                for row in connection.execute(query)
            ]

    @patient
    def put_right(self, found: OpenAttempt, now: datetime, *, is_startable: bool) -> PutRight | None:
        """The attempt ends as `run_lost`, the lease is let go, and the migration wants to be started again, or is
        failed where too many of its runs have vanished; what somebody wanted cancelled is so.

        Args:
            now: of the same tick each time that it is asked for.
            is_startable: False where a person has stopped the run.
        Returns: None where the run has spoken since, or another one has taken over.
        """
        with self._engine.begin() as connection:
            row = locked_row(connection, found.token)
            attempt = connection.execute(
                select(attempts.c.ended_at, attempts.c.error_code).where(
                    attempts.c.token == found.token, attempts.c.number == found.number
                )
            ).one_or_none()
            if attempt is None or row.attempts != found.number:
                return None
            if attempt.ended_at is not None:  # done by us before, where the answer was lost; or by the run itself
                is_ours = attempt.error_code == RUN_LOST and row.start_wanted_at == now
                return _result(connection, row, now) if is_ours else None
            if row.lease_expires_at is not None and (row.lease_holder, row.lease_expires_at) != (
                found.run_id,
                found.lease_expires_at,
            ):
                return None
            _end_lost(connection, row, found, now, is_startable=is_startable)
            return _result(connection, locked_row(connection, found.token), now)

    @patient
    def fail(self, token: str, error: EuroskyError, now: datetime, *, unless_wanted_after: datetime) -> bool:
        """Mark a migration `failed` that no run works on: it is pending, or waits.

        Args:
            unless_wanted_after: one that was registered or brought back later is left alone.
        Returns: whether it is.
        """
        with self._engine.begin() as connection:
            row = locked_row(connection, token)
            if row.state is State.FAILED and row.updated_at == now:
                return True
            is_wanted_anew = row.start_wanted_at is not None and row.start_wanted_at > unless_wanted_after
            if is_held(row, now) or row.cancel_requested_at is not None or is_wanted_anew:
                return False
            if row.state is State.WAITING:
                move(connection, token, row.state, row.stopped_in or RESTART, {}, now)
            elif row.state not in STARTABLE:
                return False
            _set_wish(connection, token, None)
            return stop(connection, token, _failed(error), holder=None, now=now)

    @patient
    def want_start(self, token: str, run_id: str, now: datetime) -> bool:
        """Its last run, this one, was interrupted, and nobody meant the migration: it wants to be started again.

        Returns: whether it does.
        """
        with self._engine.begin() as connection:
            row = locked_row(connection, token)
            is_last = row.lease_holder == run_id and not is_held(row, now) and row.cancel_requested_at is None
            if is_last and row.state in STARTABLE and row.start_wanted_at is None:
                _set_wish(connection, token, now)
                return True
            return row.start_wanted_at is not None

    @patient
    def drop_wish(self, token: str, wanted_at: datetime) -> None:
        """A person has stopped the run that this wish has led to: it is none any more."""
        with self._engine.begin() as connection:
            row = locked_row(connection, token)
            if row.start_wanted_at == wanted_at:
                _set_wish(connection, token, None)

    @patient
    def due(self, now: datetime, limit: int) -> list[Migration]:
        """Migrations whose wait is over, the longest overdue first; those of which nobody knows how long too."""
        is_over = or_(migrations.c.resume_at.is_(None), migrations.c.resume_at <= now)
        query = select(migrations).where(migrations.c.state == State.WAITING, is_over)
        query = query.order_by(migrations.c.resume_at.nulls_first(), migrations.c.token).limit(limit)
        with self._engine.connect() as connection:
            return [Migration.from_row(row) for row in connection.execute(query).mappings()]

    @patient
    def earliest_resume(self) -> datetime | None:
        """When the first of the waiting migrations may go on; None if none waits."""
        query = select(func.min(migrations.c.resume_at)).where(migrations.c.state == State.WAITING)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    @patient
    def without_password(self, now: datetime, until: datetime, limit: int) -> list[Unusable]:
        """Migrations under way that no run works on, whose destination's password expires before `until`, or is gone;
        those that have none first.

        One that never had any counts once it would have expired.
        """
        row, password = migrations.c, credentials.c
        is_its_own = and_(password.token == row.token, password.side == Side.DESTINATION)
        is_gone = and_(password.token.is_(None), row.created_at <= now - CREDENTIAL_LIFETIME)
        query = (
            select(row.token, row.state, row.start_wanted_at, password.expires_at)
            .select_from(migrations.outerjoin(credentials, is_its_own))
            .where(row.state.in_([*STARTABLE, State.WAITING]), or_(is_gone, password.expires_at <= until))
            .where(or_(row.lease_expires_at.is_(None), row.lease_expires_at <= now))
            .order_by(password.expires_at.nulls_first(), row.token)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [
                Unusable(each.token, State(each.state), each.expires_at, each.start_wanted_at is not None)
                for each in connection.execute(query)
            ]


def open_watch(settings: Settings) -> Watch:
    """Raises: as `database.open_engine`."""
    return Watch(open_engine(settings))


def _end_lost(connection: Connection, row: Migration, found: OpenAttempt, now: datetime, *, is_startable: bool) -> None:
    """What `put_right` does to the row, which is locked."""
    lost = 1 + _lost_before(connection, found)
    is_cancelled = row.cancel_requested_at is not None
    if row.lease_holder == found.run_id:
        fulfil_wishes(connection, found.run_id, now)
    if is_startable and not is_cancelled and row.state in STARTABLE and lost >= MAX_LOST_IN_A_ROW:
        error = FatalError(
            f"{lost} runs, one after the other, have ended without a word: killed, or their machine",
            code="run_lost",
            hint=f"see what ends them (memory?), then `eurosky migrations retry {found.token}`",
        )
        stop(connection, found.token, _failed(error), holder=None, now=now)
    end_lost_attempt(connection, found.token, found.lease_expires_at, now)
    is_wanted = is_startable and not is_cancelled and row.state in STARTABLE and lost < MAX_LOST_IN_A_ROW
    values = {"lease_expires_at": None, **({"start_wanted_at": now} if is_wanted else {})}
    connection.execute(update(migrations).where(migrations.c.token == found.token).values(**values))


def _result(connection: Connection, row: Migration, now: datetime) -> PutRight:
    newest = OpenAttempt(row.token, row.attempts, "", row.state, None)
    is_wanted = row.state in STARTABLE and row.start_wanted_at == now
    return PutRight(row, 1 + _lost_before(connection, newest), is_wanted)


def _lost_before(connection: Connection, found: OpenAttempt) -> int:
    """How many attempts before this one were lost, one after the other; one for which the migration was failed ends
    the row: whoever has brought it back since begins anew."""
    columns = attempts.c
    query = select(columns.error_code, columns.ended_in).where(
        columns.token == found.token, columns.number < found.number
    )
    before: Sequence[tuple[str | None, str | None]] = [
        (row.error_code, row.ended_in)
        for row in connection.execute(query.order_by(columns.number.desc()).limit(MAX_LOST_IN_A_ROW))
    ]
    count = 0
    for code, ended_in in before:
        if code != RUN_LOST or ended_in is not None:
            break
        count += 1
    return count


def _failed(error: EuroskyError) -> Stopped:
    return Stopped(State.FAILED, error.code, error.with_hint())


def _set_wish(connection: Connection, token: str, wanted_at: datetime | None) -> None:
    connection.execute(update(migrations).where(migrations.c.token == token).values(start_wanted_at=wanted_at))
