"""Giving up: at once where nobody works, by a wish where a run does; and no wish is overtaken or lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import ConflictError, EuroskyError, FatalError, StoppedError
from eurosky_pipeline.registry.cancellation import MigrationCancelled
from eurosky_pipeline.registry.lease import CANCEL_POLL_S, hold_lease
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
NEW = NewMigration(DID, "https://old.example", "https://new.example")
PASSWORD = SecretStr("a-password")
ROUNDS = 3


@pytest.fixture
def token(registry: Registry) -> str:
    """Of a migration whose blobs are under way."""
    added = registry.add(NEW, {Side.DESTINATION: PASSWORD, Side.SOURCE: PASSWORD}).token
    registry.transition(added, State.PENDING_REPO, State.PENDING_BLOBS)
    return added


def has_passwords(registry: Registry, token: str) -> bool:
    return any(registry.password(token, side) is not None for side in Side)


@pytest.mark.parametrize(
    "before",
    [
        lambda registry, token: None,
        lambda registry, token: registry.acquire_lease(token, "a-dead-run", -1),
        lambda registry, token: registry.wait(token, datetime.now(UTC), RateLimited("later")),
        lambda registry, token: registry.fail(token, FatalError("no")),
        lambda registry, token: registry.request_cancel(token),
    ],
    ids=["at rest", "its run has died", "it waits", "it has failed", "it is cancelled"],
)
def test_what_no_run_works_on_is_cancelled_at_once_with_its_passwords(
    registry: Registry, token: str, before: Callable[[Registry, str], object]
) -> None:
    before(registry, token)
    cancelled = registry.request_cancel(token)
    assert (cancelled.state, cancelled.stopped_in) == (State.CANCELLED, State.PENDING_BLOBS)
    assert (cancelled.cancel_requested_at, cancelled.resume_at, cancelled.lease_expires_at) == (None, None, None)
    assert not has_passwords(registry, token)
    assert registry.request_cancel(token) == cancelled


def test_a_run_is_asked_and_cancels_as_it_lets_go(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "a-run", 60)
    asked = registry.request_cancel(token)
    assert (asked.state, asked.lease_holder) == (State.PENDING_BLOBS, "a-run")
    assert asked.cancel_requested_at is not None
    assert registry.is_cancel_wanted(token)
    assert has_passwords(registry, token)
    assert registry.request_cancel(token).cancel_requested_at == asked.cancel_requested_at
    registry.release_leases("another-run")
    assert registry.get(token).state is State.PENDING_BLOBS
    registry.release_leases("a-run")
    after = registry.get(token)
    assert (after.state, after.stopped_in) == (State.CANCELLED, State.PENDING_BLOBS)
    assert (after.cancel_requested_at, after.lease_expires_at) == (None, None)
    assert not has_passwords(registry, token)
    (attempt,) = registry.attempts_of(token)
    assert (attempt.ended_in, attempt.error_code) == (State.CANCELLED, None)


def test_only_what_was_asked_for_is_cancelled_when_a_run_lets_go(registry: Registry, token: str) -> None:
    other = registry.add(NewMigration("did:web:b.example", "https://old.example", "https://new.example"), {}).token
    for each in (token, other):
        registry.acquire_lease(each, "a-run", 60)
    registry.request_cancel(token)
    registry.release_leases("a-run")
    assert [registry.get(each).state for each in (token, other)] == [State.CANCELLED, State.PENDING_REPO]


def test_no_way_leads_past_a_wish_to_cancel(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "a-run", 60)
    registry.request_cancel(token)
    with pytest.raises(MigrationCancelled, match=f"{token} is cancelled") as caught:
        registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    assert caught.value.code == "cancelled"
    assert f"retry {token} --destination-password-env" in caught.value.hint
    registry.fail(token, FatalError("another step of it"), holder="a-run")
    with pytest.raises(MigrationCancelled):
        registry.resume(token)
    registry.release_leases("a-run")
    after = registry.get(token)
    assert (after.state, after.stopped_in) == (State.CANCELLED, State.PENDING_BLOBS)


def test_a_wish_whose_run_has_died_is_fulfilled_by_asking_again(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "a-run", 60)
    assert registry.request_cancel(token).state is State.PENDING_BLOBS
    registry.acquire_lease(token, "a-run", -1)
    assert registry.request_cancel(token).state is State.CANCELLED
    assert registry.is_cancel_wanted(token), "the run was only asleep, and wakes up"
    (attempt,) = registry.attempts_of(token)
    assert (attempt.error_code, attempt.ended_in) == ("run_lost", None)
    assert attempt.ended_at is not None


def test_what_is_finished_is_given_up_only_where_that_is_meant(registry: Registry, token: str) -> None:
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    with pytest.raises(ConflictError, match="is finished") as caught:
        registry.request_cancel(token)
    assert caught.value.code == "already_finished"
    assert "--finished" in caught.value.hint
    assert has_passwords(registry, token)
    assert registry.request_cancel(token, is_finished_too=True).state is State.CANCELLED
    registry.add(NEW, {})


def test_what_is_completed_is_never_given_up(registry: Registry, token: str) -> None:
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    registry.transition(token, State.PENDING_PREFS, State.COMPLETED)
    with pytest.raises(ConflictError, match="is finished"):
        registry.request_cancel(token, is_finished_too=True)


def test_a_retry_is_the_later_word_once_the_run_has_gone(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "a-run", 60)
    registry.request_cancel(token)
    with pytest.raises(LeaseHeldError):
        registry.retry(token)
    assert registry.get(token).cancel_requested_at is not None
    registry.acquire_lease(token, "a-run", -1)
    back = registry.retry(token)
    assert (back.state, back.cancel_requested_at) == (State.PENDING_BLOBS, None)
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)


def test_a_retry_gives_passwords_anew(registry: Registry, token: str) -> None:
    registry.request_cancel(token)
    assert registry.retry(token).state is State.PENDING_BLOBS
    assert not has_passwords(registry, token)
    registry.retry(token, {Side.DESTINATION: SecretStr("a-newer-one")})
    given = registry.password(token, Side.DESTINATION)
    assert given is not None
    assert given.get_secret_value() == "a-newer-one"
    assert registry.password(token, Side.SOURCE) is None


def test_a_retry_that_is_refused_changes_nothing(registry: Registry, token: str) -> None:
    registry.request_cancel(token)
    newer = registry.add(NEW, {}).token
    before = registry.get(token)
    with pytest.raises(ConflictError, match=newer) as caught:
        registry.retry(token, {Side.DESTINATION: PASSWORD})
    assert caught.value.code == "already_active"
    assert registry.get(token) == before
    assert not has_passwords(registry, token)


def work_until_asked_to_stop(registry: Registry, token: str, then: Exception) -> None:
    """With a wish to cancel while it works, and time for more than one renewal after that."""
    stop = threading.Event()
    with hold_lease(registry, token, "a-run", stop, lifetime_s=0.6, poll_s=0.05):
        registry.request_cancel(token)
        assert stop.wait(60), "nobody said that it is to end"
        seen, deadline_s = {registry.get(token).lease_expires_at}, time.monotonic() + 60
        while len(seen) < 4:
            assert time.monotonic() < deadline_s, "the lease of a run that is still at work is not renewed"
            time.sleep(0.05)
            seen.add(registry.get(token).lease_expires_at)
        raise then


@pytest.mark.parametrize("database_url", [None])
def test_whoever_works_is_asked_to_stop_and_keeps_the_lease_until_it_has(registry: Registry, token: str) -> None:
    with pytest.raises(MigrationCancelled, match=token):
        work_until_asked_to_stop(registry, token, StoppedError("asked to stop"))


@pytest.mark.parametrize("database_url", [None])
def test_an_error_of_the_work_itself_is_not_taken_for_the_stop(registry: Registry, token: str) -> None:
    with pytest.raises(ZeroDivisionError):
        work_until_asked_to_stop(registry, token, ZeroDivisionError())


def test_a_stop_for_another_reason_is_no_cancellation(registry: Registry, token: str) -> None:
    with pytest.raises(StoppedError), hold_lease(registry, token, "a-run", threading.Event(), poll_s=0.05):
        raise StoppedError("Ctrl-C")


def test_a_wish_is_noticed_within_seconds() -> None:
    assert CANCEL_POLL_S <= 2


def race(settings: Settings, *acts: Callable[[Registry], object]) -> list[object]:
    """What each act, on a connection of its own and all at once, returned or raised on purpose."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[Registry], object]) -> object:
        with closing(open_registry(settings)) as mine:
            barrier.wait(30)
            try:
                return act(mine)
            except EuroskyError as error:
                return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_of_a_run_that_begins_and_a_cancellation_the_run_ends_or_never_begins(
    registry: Registry, settings: Settings, token: str, round_: int
) -> None:
    race(settings, lambda r: r.acquire_lease(token, "a-run", 60), lambda r: r.request_cancel(token))
    assert registry.is_cancel_wanted(token)
    with pytest.raises(ConflictError):
        registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    registry.release_leases("a-run")
    assert registry.get(token).state is State.CANCELLED


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_of_the_last_step_and_a_cancellation_exactly_one_is_told_that_it_was_too_late(
    registry: Registry, settings: Settings, token: str, round_: int
) -> None:
    registry.acquire_lease(token, "a-run", 60)
    finished, asked = race(
        settings,
        lambda r: r.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS),
        lambda r: r.request_cancel(token),
    )
    registry.release_leases("a-run")
    if isinstance(asked, EuroskyError):
        assert (asked.code, finished) == ("already_finished", None)
        assert registry.get(token).state is State.PENDING_PREFS
    else:
        assert isinstance(finished, MigrationCancelled)
        assert registry.get(token).state is State.CANCELLED


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_of_a_run_that_ends_and_two_that_cancel_the_wish_is_never_lost(
    registry: Registry, settings: Settings, token: str, round_: int
) -> None:
    registry.acquire_lease(token, "a-run", 60)
    race(
        settings,
        lambda r: r.release_leases("a-run"),
        lambda r: r.request_cancel(token),
        lambda r: r.request_cancel(token),
    )
    after = registry.get(token)
    assert (after.state, after.cancel_requested_at) == (State.CANCELLED, None)
    assert not has_passwords(registry, token)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_of_a_run_that_begins_and_a_retry_the_failure_of_the_run_is_kept(
    registry: Registry, settings: Settings, token: str, round_: int
) -> None:
    registry.fail(token, FatalError("an old one"))

    def begin_and_fail(mine: Registry) -> None:
        mine.acquire_lease(token, "a-run", 60)
        mine.resume(token)
        assert mine.fail(token, FatalError("a new one", code="said_no"), holder="a-run")

    race(settings, begin_and_fail, lambda r: r.retry(token))
    after = registry.get(token)
    assert (after.state, after.error_code) == (State.FAILED, "said_no")
