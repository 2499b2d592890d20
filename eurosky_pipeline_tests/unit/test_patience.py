"""A server that goes away for a moment is outlasted, and a COMMIT whose answer was lost is nobody else's deed."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError, OperationalError

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.errors import FatalError, TransientError
from eurosky_pipeline.registry import patience
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.patience import DatabaseAwayError, is_passing, patient
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline_tests.postgres import PASSWORD, PostgresServer

NEW = NewMigration("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "https://old.example", "https://new.example")
ERROR = FatalError("the source is gone", code="gone")
SENT = BlobOutcome(cid_of(b"sent", CODEC_RAW), Outcome.TRANSFERRED, 4, "image/png", 1, 8)

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def token(registry: Registry) -> str:
    return registry.add(NEW, {}).token


@pytest.fixture
def lose_answer(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on, the answer to the next COMMIT gets lost: the server has done it, and is gone."""

    def arm() -> None:
        dialect = registry._engine.dialect
        commit = dialect.do_commit

        def lost(connection) -> None:
            monkeypatch.setattr(dialect, "do_commit", commit)
            commit(connection)
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(dialect, "do_commit", lost)

    return arm


@on_postgresql
def test_a_migration_that_was_added_without_an_answer_is_there_once(registry: Registry, lose_answer) -> None:
    lose_answer()
    added = registry.add(NEW, {Side.DESTINATION: SecretStr("hunter2")})
    assert [migration.token for migration in registry.find()] == [added.token]
    assert registry.password(added.token, Side.DESTINATION) == SecretStr("hunter2")


@on_postgresql
def test_a_pause_without_an_answer_is_begun_and_ended_once(registry: Registry, lose_answer) -> None:
    lose_answer()
    pause = registry.pause("once")
    assert registry.paused() == pause
    lose_answer()
    assert registry.end_pause() == pause, "the one that it has ended, though its second try found none"
    assert registry.paused() is None


@on_postgresql
def test_a_move_without_an_answer_is_no_conflict_with_oneself(registry: Registry, token: str, lose_answer) -> None:
    lose_answer()
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS, {"blob_count": 3})
    assert registry.get(token).state is State.PENDING_BLOBS
    assert registry.get(token).progress_data == {"blob_count": 3}


@on_postgresql
def test_a_failure_or_a_wait_without_an_answer_is_still_ones_own(registry: Registry, token: str, lose_answer) -> None:
    registry.acquire_lease(token, "run-1", 60)
    lose_answer()
    assert registry.wait(token, datetime.now(UTC) + timedelta(hours=1), ERROR, holder="run-1") is True
    registry.resume(token)
    lose_answer()
    assert registry.fail(token, ERROR, holder="run-1") is True
    assert registry.get(token).state is State.FAILED


@on_postgresql
def test_a_lease_without_an_answer_counts_one_attempt_and_is_a_first_step(
    registry: Registry, token: str, lose_answer
) -> None:
    lose_answer()
    assert registry.acquire_lease(token, "run-1", 60) is True
    assert registry.get(token).attempts == len(registry.attempts_of(token)) == 1
    lose_answer()
    assert registry.acquire_lease(token, "run-1", 60) is False
    with pytest.raises(LeaseHeldError):
        registry.acquire_lease(token, "run-2", 60)
    lose_answer()
    registry.release_leases("run-1")
    assert registry.get(token).lease_expires_at is None


@on_postgresql
def test_a_ledger_without_an_answer_has_each_row_once(registry: Registry, token: str, lose_answer) -> None:
    lose_answer()
    registry.record(token, {"blobs_completed": 1}, iter([SENT]))
    assert registry.outcomes(token) == [SENT]
    assert registry.get(token).progress_data == {"blobs_completed": 1}


@on_postgresql
def test_what_is_asked_while_the_server_is_away_is_answered_when_it_is_back(
    registry: Registry, token: str, postgres_server: PostgresServer
) -> None:
    registry.get(token)  # a connection is in the pool, which the server forgets
    postgres_server.stop()
    back = threading.Timer(1.0, postgres_server.start)
    back.start()
    try:
        registry.record(token, {"blobs_completed": 1}, [SENT])
        assert registry.outcomes(token) == [SENT]
    finally:
        back.join()


@on_postgresql
def test_a_server_that_stays_away_is_an_error_that_may_pass_and_tells_no_password(
    registry: Registry, token: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    postgres_server.stop()
    try:
        with pytest.raises(DatabaseAwayError, match="has been away") as caught:
            registry.get(token)
    finally:
        postgres_server.start()
    assert isinstance(caught.value, TransientError)
    assert caught.value.code == "database_unavailable"
    assert PASSWORD not in caught.value.with_hint()
    assert "SELECT" not in caught.value.message
    assert registry.get(token).state is State.PENDING_REPO


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("SELECT", {}, psycopg2.OperationalError("connection refused")), True),
        (OperationalError("SELECT", {}, psycopg2.OperationalError("gone"), connection_invalidated=True), True),
        (OperationalError("SELECT", {}, sqlite3.OperationalError("disk is full")), False),
        (IntegrityError("INSERT", {}, psycopg2.IntegrityError("duplicate key")), False),
        (ValueError("no"), False),
    ],
)
def test_what_passes_is_told_from_what_stays(error: Exception, expected: bool) -> None:
    assert is_passing(error) is expected


def test_a_deadlock_passes() -> None:
    class Deadlock(psycopg2.OperationalError):
        pgcode = "40P01"

    calls = []

    @patient
    def work() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OperationalError("UPDATE", {}, Deadlock("deadlock detected"))
        return len(calls)

    assert work() == 3


def test_other_errors_are_raised_at_once() -> None:
    calls = []

    @patient
    def work() -> None:
        calls.append(1)
        raise LeaseHeldError("held")

    with pytest.raises(LeaseHeldError):
        work()
    assert calls == [1]


def test_texts_that_no_database_stores_are_made_storable(registry: Registry, token: str) -> None:
    hostile = BlobOutcome(
        SENT.blob_cid, Outcome.FAILED, mime_type="image/\0png", error_code="x" * 300, error_text="half \ud800 \0 é"
    )
    registry.record(token, {"reconciliation_error": "a\0b\udfff", "failed_blobs": ["é\0"]}, [hostile])
    registry.fail(token, FatalError("told by a host: \0\ud800", code="y" * 300))
    (found,) = registry.outcomes(token)
    assert (found.mime_type, found.error_code, found.error_text) == (
        "image/\ufffdpng",
        "x" * 64,
        "half \ufffd \ufffd é",
    )
    migration = registry.get(token)
    assert migration.progress_data == {"reconciliation_error": "a\ufffdb\ufffd", "failed_blobs": ["é\ufffd"]}
    assert (migration.error_code, migration.error_text) == ("y" * 64, "told by a host: \ufffd\ufffd")
    registry.purge_credentials()  # which looks into `progress_data`


@pytest.mark.parametrize("text", ["EURO-\0", "\ud800", "EURO-" + "A" * 100_000])
def test_a_token_that_cannot_be_one_is_asked_of_no_database(registry: Registry, text: str) -> None:
    with pytest.raises(FatalError, match="there is no migration"):
        registry.get(text)


def test_what_follows_from_a_server_that_stayed_away_does_not_wait_as_long_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    calls, is_back = [], []

    @patient
    def work() -> str:
        calls.append(1)
        if not is_back:
            raise OperationalError("SELECT", {}, psycopg2.OperationalError("connection refused"))
        return "done"

    with pytest.raises(DatabaseAwayError):
        work()
    assert len(calls) > 1
    calls.clear()
    with pytest.raises(DatabaseAwayError):
        work()
    assert calls == [1]
    is_back.append(True)
    assert work() == "done"
    is_back.clear()
    calls.clear()
    with pytest.raises(DatabaseAwayError):
        work()
    assert len(calls) > 1  # another outage, and patience anew
