"""The history of attempts: each run that has worked on a migration, how it began and how it ended."""

from datetime import UTC, datetime, timedelta

import pytest

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.attempts import Attempt
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.xrpc.errors import RateLimited

ERROR = FatalError("the source is gone", code="gone", hint="ask its operator")


@pytest.fixture
def token(registry: Registry) -> str:
    new = NewMigration("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "https://old.example", "https://new.example")
    return registry.add(new, {}).token


def ends(attempts: list[Attempt]) -> list[tuple[str, State | None, str | None]]:
    return [(attempt.holder, attempt.ended_in, attempt.error_code) for attempt in attempts]


def test_a_migration_that_nobody_has_worked_on_has_no_history(registry: Registry, token: str) -> None:
    assert registry.attempts_of(token) == []


def test_an_attempt_begins_with_the_lease_and_is_under_way_until_it_is_let_go(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.acquire_lease(token, "run-1", 60)  # renewed
    (attempt,) = registry.attempts_of(token)
    assert (attempt.number, attempt.holder, attempt.started_in) == (1, "run-1", State.PENDING_REPO)
    assert (attempt.ended_at, attempt.ended_in, attempt.error_code, attempt.error_text) == (None, None, None, None)
    assert abs((datetime.now(UTC) - attempt.started_at).total_seconds()) < 60
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.release_leases("run-1")
    (ended,) = registry.attempts_of(token)
    assert (ended.ended_in, ended.error_code) == (State.PENDING_BLOBS, None)
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at


def test_each_attempt_keeps_its_own_end_when_the_migration_goes_on(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.fail(token, ERROR, holder="run-1")
    registry.release_leases("run-1")
    registry.acquire_lease(token, "run-2", 60)
    registry.resume(token)
    registry.wait(token, datetime.now(UTC) + timedelta(hours=1), RateLimited("too many"), holder="run-2")
    registry.release_leases("run-2")
    registry.acquire_lease(token, "run-3", 60)
    history = registry.attempts_of(token)
    assert ends(history) == [
        ("run-1", State.FAILED, "gone"),
        ("run-2", State.WAITING, "rate_limited"),
        ("run-3", None, None),
    ]
    assert [attempt.number for attempt in history] == [1, 2, 3] == list(range(1, registry.get(token).attempts + 1))
    assert history[0].error_text == "the source is gone → ask its operator"
    assert [attempt.started_in for attempt in history] == [State.PENDING_REPO, State.FAILED, State.WAITING]


def test_a_run_that_was_killed_ends_when_its_lease_ran_out_and_another_takes_over(
    registry: Registry, token: str
) -> None:
    registry.acquire_lease(token, "run-1", -30)
    registry.acquire_lease(token, "run-2", 60)
    lost, going = registry.attempts_of(token)
    assert (lost.ended_in, lost.error_code, lost.error_text) == (None, "run_lost", "the run ended without a word")
    assert lost.ended_at is not None
    assert 25 < (datetime.now(UTC) - lost.ended_at).total_seconds() < 600
    assert going.ended_at is None


def test_a_run_that_was_stopped_says_so_unless_it_has_said_more(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.release_leases("run-1", is_stopped=True)
    registry.acquire_lease(token, "run-2", 60)
    registry.fail(token, ERROR, holder="run-2")
    registry.release_leases("run-2", is_stopped=True)
    stopped, failed = registry.attempts_of(token)
    assert ends([stopped, failed]) == [("run-1", State.PENDING_REPO, "stopped"), ("run-2", State.FAILED, "gone")]
    assert stopped.error_text == "its run was stopped before its end"


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_run_that_was_given_up_ends_as_cancelled(registry: Registry, token: str, is_stopped: bool) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.request_cancel(token)
    registry.release_leases("run-1", is_stopped=is_stopped)
    assert ends(registry.attempts_of(token)) == [("run-1", State.CANCELLED, None)]


def test_a_run_that_has_lost_its_lease_does_not_end_the_attempt_of_the_next(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", -30)
    registry.acquire_lease(token, "run-2", 60)
    assert not registry.fail(token, ERROR, holder="run-1")
    registry.release_leases("run-1")
    assert ends(registry.attempts_of(token)) == [("run-1", None, "run_lost"), ("run-2", None, None)]
