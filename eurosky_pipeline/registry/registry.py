"""The registry: every change of a migration's row goes through here, and each is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError

from eurosky_pipeline.errors import ConflictError, EuroskyError
from eurosky_pipeline.registry import cancellation
from eurosky_pipeline.registry.attempts import end_attempts
from eurosky_pipeline.registry.credentials import (
    CREDENTIAL_LIFETIME,
    PurgedCredentials,
    has_passwords,
    purge,
    read_password,
    store_passwords,
)
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.desk import Desk
from eurosky_pipeline.registry.holds import LeaseHeldError, take_lease
from eurosky_pipeline.registry.intake import Offer, Taken, take_offers
from eurosky_pipeline.registry.ledger import BlobOutcome, write_outcomes
from eurosky_pipeline.registry.migration import Migration, NewMigration, new_token
from eurosky_pipeline.registry.moves import Stopped, move, stop
from eurosky_pipeline.registry.patience import patient
from eurosky_pipeline.registry.pause import Pause, begin_pause, end_pause
from eurosky_pipeline.registry.queries import active_tokens
from eurosky_pipeline.registry.rows import insert_row, merge_progress
from eurosky_pipeline.registry.states import RESTART, STOPPED, State
from eurosky_pipeline.registry.tables import ONE_ACTIVE_PER_DID, migrations
from eurosky_pipeline.registry.vault import Side, Vault, open_vault
from eurosky_pipeline.registry.watch import Watch
from eurosky_pipeline.settings import Settings

__all__ = ["CREDENTIAL_LIFETIME", "LeaseHeldError", "Registry", "open_registry"]


class Registry(Desk):
    """The migrations table and what belongs to it, with the key to the passwords. Safe to share between threads.

    Where the database's server goes away for a moment, every method waits for it and begins again (`patience`): each
    has to be one that may be done twice.
    """

    def __init__(self, engine: Engine, vault: Vault) -> None:
        super().__init__(engine)
        self._vault = vault
        self.watch = Watch(engine)

    def add(self, new: NewMigration, passwords: Mapping[Side, SecretStr]) -> Migration:
        """Register a migration, its passwords encrypted, in state `pending_repo`.

        Raises:
            ConflictError: the DID already has an active migration.
        """
        token = new_token()
        self._insert(token, new, passwords, _now())
        return self.get(token)

    @patient
    def take_in(self, offers: Sequence[Offer]) -> list[Taken]:
        """Add what can be added, all in one transaction; no two offers are of one DID. See `intake.take_offers`.

        Where another process adds one of them at the same moment, each is taken by itself: only that one has lost.
        """
        try:
            with self._engine.begin() as connection:
                return take_offers(connection, self._vault, offers, _now())
        except DatabaseIntegrityError:
            if len(offers) == 1:  # what was in the way is there now, to be seen
                with self._engine.begin() as connection:
                    return take_offers(connection, self._vault, offers, _now())
        return [taken for offer in offers for taken in self.take_in([offer])]

    @patient
    def password(self, token: str, side: Side) -> SecretStr | None:
        """The password given for one side; None if none was.

        Raises: SettingsError if it has expired, VaultError if it cannot be decrypted.
        """
        with self._engine.connect() as connection:
            return read_password(connection, self._vault, token, side, _now())

    @patient
    def purge_credentials(self) -> PurgedCredentials:
        """Delete the passwords that nobody will need any more; see `credentials.purge`."""
        with self._engine.begin() as connection:
            return purge(connection, _now())

    def transition(self, token: str, before: State, after: State, progress: Mapping[str, Any] | None = None) -> None:
        """Move from `before` to `after`, and write `progress` in the same transaction.

        Raises:
            ConflictError: the migration is not in `before` (any more), or there is no way between the two: a stopped
                one goes on only where it stopped, and only while no other migration of the DID is active. Nor is there
                any but into a stopped state while somebody wants it cancelled (code `cancelled`).
        """
        self._move(token, before, after, progress or {}, _now())

    @patient
    def _move(self, token: str, before: State, after: State, progress: Mapping[str, Any], now: datetime) -> None:
        try:
            with self._engine.begin() as connection:
                move(connection, token, before, after, progress, now)
        except DatabaseIntegrityError:
            raise self._already_active(self.get(token).did) from None

    def resume(self, token: str) -> Migration:
        """Bring a stopped migration back to where it stopped; one that is under way stays as it is.

        Raises:
            ConflictError: another migration of the same DID has become active meanwhile, or it is forgotten.
        """
        migration = self.get(token)
        migration.require_known()
        if migration.state not in STOPPED:
            return migration
        self.transition(token, migration.state, migration.stopped_in or RESTART)
        return self.get(token)

    @patient
    def request_cancel(self, token: str, *, is_finished_too: bool = False) -> Migration:
        """Give a migration up, and delete its passwords: at once, or, while a run works on it, when that run has
        stopped, which it does within seconds if it lives. Asking twice is no error.

        Returns: its row afterwards: `cancelled`, or with `cancel_requested_at`.
        Raises:
            ConflictError: it is completed; or finished (`pending_prefs`), and not `is_finished_too`.
        """
        with self._engine.begin() as connection:
            cancellation.request_cancel(connection, token, _now(), is_finished_too=is_finished_too)
        return self.get(token)

    @patient
    def retry(self, token: str, passwords: Mapping[Side, SecretStr] | None = None) -> Migration:
        """`resume` by a person's hand, who must not wipe out the failure of a run that is still at work, and whose
        word is the last: a wish to cancel is withdrawn, passwords take the place of older ones.

        Raises: LeaseHeldError, and as `resume`; nothing has changed then.
        """
        try:
            with self._engine.begin() as connection:
                cancellation.bring_back(connection, token, _now())
                store_passwords(connection, self._vault, token, passwords or {}, _now())
        except DatabaseIntegrityError:
            raise self._already_active(self.get(token).did) from None
        return self.get(token)

    @patient
    def override_conversion(self, token: str, *, is_wanted: bool | None) -> None:
        """Whether this migration's legacy blobs are converted, whatever the settings say; None: as they say.

        Raises:
            LeaseHeldError: a run works on it, and may have converted them already, or not.
        """
        self._at_rest(token)
        values = {"convert_legacy_blobs": is_wanted, "updated_at": _now()}
        with self._engine.begin() as connection:
            connection.execute(update(migrations).where(migrations.c.token == token).values(**values))

    def fail(self, token: str, error: EuroskyError, *, holder: str | None = None) -> bool:
        """Mark a migration that is under way as `failed`, with the error's code and text.

        Args:
            holder: only if this run still holds the lease: what another run has taken over is that run's business.

        Returns: whether it was; one that was cancelled or completed meanwhile stays so.
        """
        return self._stop(token, Stopped(State.FAILED, error.code, error.with_hint()), holder, _now())

    def wait(self, token: str, resume_at: datetime, reason: EuroskyError, *, holder: str | None = None) -> bool:
        """Put a migration that is under way off until `resume_at`: it is `waiting`, with the reason's code and text.

        It still is its DID's active one. It goes on, before that moment too, once somebody resumes it. Its passwords,
        unless they have expired, outlive the wait by their usual time: a thousand blobs a day take days.

        Args, Returns: as of `fail`.
        """
        # its hint is for who would have to act
        stopped = Stopped(State.WAITING, reason.code, reason.message, resume_at)
        return self._stop(token, stopped, holder, _now())

    def record(self, token: str, progress: Mapping[str, Any], outcomes: Iterable[BlobOutcome] = ()) -> None:
        """Merge `progress` into `progress_data` (None removes a key) and write ledger rows, in one transaction."""
        self._write(token, progress, list(outcomes), _now())

    @patient
    def _write(self, token: str, progress: Mapping[str, Any], outcomes: Sequence[BlobOutcome], now: datetime) -> None:
        with self._engine.begin() as connection:
            write_outcomes(connection, token, outcomes, now)
            merge_progress(connection, token, progress, now)

    def acquire_lease(self, token: str, holder: str, lifetime_s: float, *, attempt: int | None = None) -> bool:
        """Take, or renew, the right to work on a migration; a new holder counts as an attempt.

        Args:
            attempt: only if this is the number that the attempt of a new holder gets.
        Returns: whether the holder is a new one, and not the last one again.
        Raises:
            LeaseHeldError: another holder has it, and it has not expired.
            AttemptBegunError: another holder has made that attempt.
        """
        found: list[bool] = []

        @patient
        def take() -> None:
            with self._engine.begin() as connection:
                found.append(take_lease(connection, token, holder, lifetime_s, _now(), attempt=attempt))

        take()
        return any(found)  # also of a try whose answer was lost: the one after it finds the holder there

    @patient
    def release_leases(self, holder: str, *, is_stopped: bool = False) -> None:
        """Let go of everything that this holder holds; what it was asked to stop is cancelled by that.

        Args:
            is_stopped: its work was broken off; the attempts say so.
        """
        with self._engine.begin() as connection:
            cancellation.fulfil_wishes(connection, holder, _now())
            end_attempts(connection, holder, _now(), is_stopped=is_stopped)
            connection.execute(
                update(migrations).where(migrations.c.lease_holder == holder).values(lease_expires_at=None)
            )

    def pause(self, note: str = "") -> Pause:
        """From now on nothing new starts, and what runs ends. A second pause leaves the first one's beginning as it
        is, and its words unless it brings its own.

        Args:
            note: why, for who finds it so; one line of it is kept, `pause.MAX_NOTE` characters at most.
        """
        return self._pause(note, _now())

    @patient
    def _pause(self, note: str, now: datetime) -> Pause:
        return begin_pause(self._engine, note, now)

    def end_pause(self) -> Pause | None:
        """Let things start again. Returns: the pause that is over; None if there was none."""
        found: list[Pause | None] = []

        @patient
        def end() -> None:
            with self._engine.begin() as connection:
                found.append(end_pause(connection))

        end()
        return next((pause for pause in found if pause is not None), None)  # of a try whose answer was lost

    @patient
    def _stop(self, token: str, stopped: Stopped, holder: str | None, now: datetime) -> bool:
        with self._engine.begin() as connection:
            return stop(connection, token, stopped, holder=holder, now=now)

    @patient
    def _insert(self, token: str, new: NewMigration, passwords: Mapping[Side, SecretStr], now: datetime) -> None:
        try:
            with self._engine.begin() as connection:
                insert_row(connection, token, new, now)
                store_passwords(connection, self._vault, token, passwords, now)
        except DatabaseIntegrityError:
            with self._engine.connect() as connection:
                is_done = connection.execute(select(migrations.c.token).where(migrations.c.token == token)).first()
            if is_done is None:  # else it was inserted before, and the answer was lost
                raise self._already_active(new.did) from None

    def _at_rest(self, token: str) -> Migration:
        """Raises LeaseHeldError if a run works on it."""
        migration = self.get(token)
        cancellation.check_at_rest(migration, _now())
        return migration

    def _already_active(self, did: str) -> ConflictError:
        with self._engine.connect() as connection:
            active = active_tokens(connection, did)
        return ConflictError(
            f"{did} already has an active migration, {', '.join(active) or ONE_ACTIVE_PER_DID}",
            code="already_active",
            hint="it is finished: `eurosky migrations cancel TOKEN --finished` makes room for another"
            if State.PENDING_PREFS in active.values()
            else "finish or cancel that one first",
        )


def open_registry(settings: Settings, *, patience_s: float = 0) -> Registry:
    """The registry of these settings, its schema current. Args, Raises: as `database.open_engine`."""
    engine = open_engine(settings, patience_s=patience_s)
    return Registry(engine, open_vault(settings, lambda: has_passwords(engine)))


def _now() -> datetime:
    return datetime.now(UTC)
