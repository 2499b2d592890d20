"""What is put down to be told: one event for each change, in its own transaction, and none without a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import ConflictError, FatalError
from eurosky_pipeline.plugins.event_sinks import Event, EventKind
from eurosky_pipeline.registry.deliveries import Outbox
from eurosky_pipeline.registry.intake import Offer
from eurosky_pipeline.registry.migration import NewMigration, new_token
from eurosky_pipeline.registry.purge import open_purge
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.conftest import Sql

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
NEW = NewMigration(DID, "https://old.example", "https://new.example", handle="alice.example")
ERROR = FatalError(f"{DID} is gone", code="gone", hint="look for it")

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def token(registry: Registry) -> str:
    return registry.add(NEW, {Side.DESTINATION: SecretStr("correct horse")}).token


@pytest.fixture
def lose_answers(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on, the answer to every other COMMIT gets lost: the server has done it, and is gone."""

    def arm() -> None:
        dialect = registry._engine.dialect
        commit, count = dialect.do_commit, [0]

        def lost(connection) -> None:
            commit(connection)
            count[0] += 1
            if count[0] % 2:
                raise psycopg2.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(dialect, "do_commit", lost)

    return arm


def told(registry: Registry) -> list[Event]:
    """Everything that was put down, as a sink that has had nothing gets it."""
    return [pending.event for pending in Outbox(registry._engine).pending("nobody", datetime.now(UTC), limit=10_000)]


def changes(events: Sequence[Event]) -> list[tuple[str, str | None, str, str | None]]:
    return [(event.kind, event.state_before, event.state_after, event.error_code) for event in events]


def walk(registry: Registry, token: str) -> None:
    """A migration that fails, is brought back, waits, is done, and is given up in the end."""
    registry.acquire_lease(token, "run-1", 60)
    registry.record(token, {"blobs_total": 3, "blobs_completed": 1, "bytes_transferred": 10, "failed_blobs": ["a"]})
    registry.fail(token, ERROR, holder="run-1")
    registry.release_leases("run-1")
    registry.retry(token)
    registry.acquire_lease(token, "run-2", 60)
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.wait(token, datetime.now(UTC) + timedelta(hours=1), ERROR, holder="run-2")
    registry.release_leases("run-2")
    registry.acquire_lease(token, "run-3", 60)
    registry.resume(token)
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS, {"reconciliation_status": "partial"})
    registry.release_leases("run-3")
    registry.acquire_lease(token, "run-4", 0)
    registry.acquire_lease(token, "run-5", 60)
    registry.request_cancel(token, is_finished_too=True)
    registry.release_leases("run-5")


WALKED = [
    ("registered", None, "pending_repo", None),
    ("state_changed", "pending_repo", "failed", "gone"),
    ("run_ended", "pending_repo", "failed", "gone"),
    ("state_changed", "failed", "pending_repo", None),
    ("state_changed", "pending_repo", "pending_blobs", None),
    ("state_changed", "pending_blobs", "waiting", "gone"),
    ("run_ended", "pending_repo", "waiting", "gone"),
    ("state_changed", "waiting", "pending_blobs", None),
    ("state_changed", "pending_blobs", "pending_prefs", None),
    ("run_ended", "waiting", "pending_prefs", None),
    ("run_ended", None, "pending_prefs", "run_lost"),
    ("state_changed", "pending_prefs", "cancelled", None),
    ("run_ended", "pending_prefs", "cancelled", None),
]


def test_each_change_and_each_end_of_a_run_is_told_once_and_in_order(registry: Registry, token: str) -> None:
    walk(registry, token)
    events = told(registry)
    assert changes(events) == WALKED
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert {(event.token, event.did, event.handle, event.source_pds, event.destination_pds) for event in events} == {
        (token, DID, "alice.example", "https://old.example", "https://new.example")
    }
    first, second = (event for event in events if event.kind is EventKind.RUN_ENDED and event.error_code == "gone")
    assert first.summary.pop("duration_s") >= 0
    assert first.summary == {
        "attempt": 1,
        "blobs_completed": 1,
        "blobs_total": 3,
        "bytes_transferred": 10,
        "failed_blobs": 1,
    }
    assert second.error_text == ERROR.message
    assert events[9].summary["reconciliation_status"] == "partial"


@on_postgresql
def test_commits_whose_answers_are_lost_put_nothing_down_twice(registry: Registry, lose_answers) -> None:
    lose_answers()
    token = registry.add(NEW, {}).token
    walk(registry, token)
    assert changes(told(registry)) == WALKED


@on_postgresql
def test_a_list_whose_commit_got_no_answer_is_told_once(registry: Registry, lose_answers) -> None:
    offers = [
        Offer(new_token(), NewMigration(f"did:web:a{n}.example", "https://a.example", "https://b.example"), {})
        for n in range(30)
    ]
    lose_answers()
    registry.take_in(offers)
    assert [event.token for event in told(registry)] == [offer.token for offer in offers]


def test_what_changes_nothing_is_not_told(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.acquire_lease(token, "run-1", 60)
    registry.record(token, {"blobs_total": 3})
    registry.release_leases("run-1")
    registry.retry(token)
    before = changes(told(registry))
    for _ in range(2):
        registry.release_leases("run-1")
        registry.retry(token)
        registry.resume(token)
    with pytest.raises(ConflictError):
        registry.add(NEW, {})
    with pytest.raises(ConflictError):
        registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    assert registry.fail(token, ERROR, holder="another") is False
    assert changes(told(registry)) == before
    registry.request_cancel(token)
    registry.request_cancel(token)
    assert changes(told(registry)) == [*before, ("state_changed", "pending_repo", "cancelled", None)]


def test_an_offer_that_is_known_is_not_told_again(registry: Registry) -> None:
    offer = Offer(new_token(), NEW, {})
    registry.take_in([offer])
    registry.take_in([Offer(new_token(), NEW, {})])
    assert [event.token for event in told(registry)] == [offer.token]


def test_no_password_stands_in_an_event(registry: Registry, token: str, sql: Sql) -> None:
    walk(registry, token)
    assert "correct horse" not in str(told(registry))
    assert "correct horse" not in str(sql("SELECT * FROM events"))


def test_of_a_forgotten_account_its_events_hold_nothing(
    registry: Registry, token: str, sql: Sql, settings: Settings
) -> None:
    registry.fail(token, ERROR)
    assert DID not in str(sql("SELECT token, kind, summary FROM events"))
    purge = open_purge(settings)
    with purge.held(token) as holder:
        purge.erase(token, holder, is_forgetting=True)
    purge.close()
    assert DID not in str(sql("SELECT * FROM events"))
    assert {(event.did, event.handle, event.error_text) for event in told(registry)} == {(None, None, None)}
    assert [event.error_code for event in told(registry)] == [None, "gone"]


def test_an_id_is_never_given_again(registry: Registry, token: str, sql: Sql) -> None:
    (first,) = told(registry)
    sql("DELETE FROM events")
    registry.fail(token, ERROR)
    assert told(registry)[0].id > first.id
