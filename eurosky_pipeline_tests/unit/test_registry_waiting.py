"""A migration that waits in the registry: until when, who finds it then, and what becomes of its passwords."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from eurosky_pipeline.errors import ConflictError, SettingsError
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.registering import add, at_once, walk

REPO, BLOBS, PREFS = State.PENDING_REPO, State.PENDING_BLOBS, State.PENDING_PREFS
WAITING, FAILED, CANCELLED, COMPLETED = State.WAITING, State.FAILED, State.CANCELLED, State.COMPLETED
REASON = RateLimited("new.example allows no more for 3600 s", hint="run it again then", retry_after_s=3600)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("path", [(), (BLOBS,), (BLOBS, PREFS)], ids=["repo", "blobs", "prefs"])
def test_a_migration_is_put_off_until_a_moment_with_the_reason(registry: Registry, path: tuple[State, ...]) -> None:
    token = add(registry).token
    walk(registry, token, *path)
    before = registry.get(token).state
    assert registry.wait(token, NOON, REASON)
    waiting = registry.get(token)
    assert (waiting.state, waiting.stopped_in, waiting.resume_at) == (WAITING, before, NOON)
    assert (waiting.error_code, waiting.error_text) == ("rate_limited", "new.example allows no more for 3600 s")
    assert registry.password(token, Side.DESTINATION) is not None


@pytest.mark.parametrize(
    "end",
    [
        lambda registry, token: registry.resume(token),
        lambda registry, token: registry.retry(token),
        lambda registry, token: registry.request_cancel(token),
        lambda registry, token: registry.transition(token, WAITING, FAILED),
    ],
    ids=["resume", "retry", "cancel", "fail"],
)
def test_whatever_ends_the_wait_forgets_its_moment(registry: Registry, end: Callable[[Registry, str], object]) -> None:
    token = add(registry).token
    registry.wait(token, NOON, REASON)
    end(registry, token)
    assert registry.get(token).resume_at is None
    assert registry.watch.due(NOON, 1000) == []
    assert registry.watch.earliest_resume() is None


@pytest.mark.parametrize("path", [(FAILED,), (CANCELLED,), (WAITING,), (BLOBS, PREFS, COMPLETED)])
def test_what_is_not_under_way_is_not_put_off(registry: Registry, path: tuple[State, ...]) -> None:
    token = add(registry).token
    walk(registry, token, *path)
    before = registry.get(token)
    assert not registry.wait(token, NOON, REASON)
    assert registry.get(token) == before


def test_only_the_run_that_holds_the_lease_can_put_a_migration_off(registry: Registry) -> None:
    token = add(registry).token
    registry.acquire_lease(token, "the-new-run", 60)
    assert not registry.wait(token, NOON, REASON, holder="the-old-run")
    assert registry.get(token).state is REPO
    assert registry.wait(token, NOON, REASON, holder="the-new-run")


def test_those_whose_moment_has_come_are_found_the_longest_overdue_first(registry: Registry) -> None:
    moments = {"b": 0, "a": -60, "c": 1, "d": 60}
    tokens = {}
    for name, seconds in moments.items():
        tokens[name] = add(registry, f"did:web:{name}.example").token
        registry.wait(tokens[name], NOON + timedelta(seconds=seconds), REASON)
    add(registry, "did:web:e.example")
    assert [m.token for m in registry.watch.due(NOON, 1000)] == [tokens["a"], tokens["b"]]
    assert registry.watch.earliest_resume() == NOON - timedelta(seconds=60)
    registry.resume(tokens["a"])
    assert [m.token for m in registry.watch.due(NOON, 1000)] == [tokens["b"]]
    assert registry.watch.earliest_resume() == NOON


def test_one_that_waits_without_a_moment_is_due_at_once(registry: Registry) -> None:
    token = add(registry).token
    walk(registry, token, WAITING)
    assert [m.token for m in registry.watch.due(NOON, 1000)] == [token]
    assert registry.watch.earliest_resume() is None


def test_of_eight_that_resume_or_cancel_what_waits_at_once_the_state_is_one_of_theirs(
    registry: Registry, settings: Settings
) -> None:
    token = add(registry).token
    registry.wait(token, NOON, REASON)
    results = at_once(settings, 8, lambda mine, n: mine.request_cancel(token) if n % 2 else mine.resume(token))
    after = registry.get(token)
    assert after.state in {REPO, CANCELLED}
    assert after.resume_at is None
    assert all(result is None or isinstance(result, (Migration, ConflictError)) for result in results)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr("eurosky_pipeline.registry.registry._now", lambda: moment)


def test_a_wait_of_days_does_not_cost_the_passwords(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOON)
    token = add(registry).token
    for day in range(1, 5):
        assert registry.wait(token, NOON + timedelta(days=day), REASON)
        at(monkeypatch, NOON + timedelta(days=day, hours=1))
        registry.resume(token)
    at(monkeypatch, NOON + timedelta(days=5, hours=23))
    assert registry.password(token, Side.DESTINATION) is not None
    at(monkeypatch, NOON + timedelta(days=6))
    with pytest.raises(SettingsError) as caught:
        registry.password(token, Side.DESTINATION)
    assert caught.value.code == "credentials_expired"


def test_a_password_that_has_expired_does_not_come_back_by_a_wait(registry: Registry, monkeypatch) -> None:
    at(monkeypatch, NOON)
    token = add(registry).token
    at(monkeypatch, NOON + timedelta(hours=48))
    registry.wait(token, NOON + timedelta(days=3), REASON)
    with pytest.raises(SettingsError):
        registry.password(token, Side.DESTINATION)


def test_a_short_wait_does_not_shorten_the_passwords_time(registry: Registry, monkeypatch) -> None:
    at(monkeypatch, NOON)
    token = add(registry).token
    registry.wait(token, NOON - timedelta(hours=10), REASON)
    at(monkeypatch, NOON + timedelta(hours=47))
    assert registry.password(token, Side.DESTINATION) is not None
