"""Putting rows right that nobody works on: only what still is as it was found, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.unit.test_registry_races import new, race

FAILED = FatalError("it failed", code="run_failed", hint="look")


def now() -> datetime:
    return datetime.now(UTC)


def added(registry: Registry, number: int = 0, **passwords: str) -> str:
    given = {Side(side): SecretStr(password) for side, password in passwords.items()}
    return registry.add(new(number), given).token


def test_of_two_processes_one_makes_the_attempt_that_both_were_asked_for(
    settings: Settings, registry: Registry
) -> None:
    def make(registry: Registry, token: str, number: int) -> bool:
        is_new = registry.acquire_lease(token, f"run-{number}", 60, attempt=1)
        registry.release_leases(f"run-{number}")
        return is_new

    tokens = [added(registry, number) for number in range(4)]
    for results in race(settings, tokens, make):
        assert sorted(code for code, _ in results) in (["attempt_begun", "done"], ["done", "lease_held"])
    assert [registry.get(token).attempts for token in tokens] == [1] * 4


def test_of_two_ticks_one_puts_a_lost_run_right(settings: Settings, registry: Registry) -> None:
    def put_right(registry: Registry, token: str, _: int) -> bool:
        (found,) = [each for each in registry.watch.open_attempts(10) if each.token == token]
        return registry.watch.put_right(found, now(), is_startable=True) is not None

    tokens = [added(registry, number) for number in range(4)]
    for token in tokens:
        registry.acquire_lease(token, f"run-of-{token}", -1)

    def found_or_not(registry: Registry, token: str, number: int) -> bool:
        try:
            return put_right(registry, token, number)
        except ValueError:  # the other one was so much faster that there was nothing to be found
            return False

    assert race(settings, tokens, found_or_not) == [[("done", False), ("done", True)]] * 4
    for token in tokens:
        assert [attempt.error_code for attempt in registry.attempts_of(token)] == ["run_lost"]
        assert registry.get(token).start_wanted_at is not None


def test_a_lost_run_is_put_right_once_and_asked_again_at_the_same_moment_it_says_the_same(registry: Registry) -> None:
    token, moment = added(registry), now()
    registry.acquire_lease(token, "a-run", -1)
    (found,) = registry.watch.open_attempts(10)
    first = registry.watch.put_right(found, moment, is_startable=True)
    assert first is not None
    assert (first.lost_in_a_row, first.is_wanted) == (1, True)
    assert registry.watch.put_right(found, moment, is_startable=True) == first  # the answer to its COMMIT was lost
    assert registry.watch.put_right(found, moment + timedelta(seconds=1), is_startable=True) is None
    assert registry.watch.open_attempts(10) == []


def test_one_that_another_run_has_taken_over_is_not_put_right(registry: Registry) -> None:
    token = added(registry)
    registry.acquire_lease(token, "a-run", -1)
    (found,) = registry.watch.open_attempts(10)
    registry.acquire_lease(token, "another", 60)
    assert registry.watch.put_right(found, now(), is_startable=True) is None
    assert registry.get(token).lease_holder == "another"


def test_open_attempts_come_page_by_page_and_those_of_a_purge_are_none(registry: Registry) -> None:
    tokens = sorted(added(registry, number) for number in range(5))
    for token in tokens[:4]:
        registry.acquire_lease(token, f"run-of-{token}", 60)
    registry.release_leases(f"run-of-{tokens[0]}")
    page = registry.watch.open_attempts(2)
    assert [each.token for each in page] == tokens[1:3]
    assert [each.token for each in registry.watch.open_attempts(2, page[-1].token)] == [tokens[3]]


def test_what_was_interrupted_wants_to_start_again_unless_somebody_has_it_by_then(registry: Registry) -> None:
    token, moment = added(registry), now()
    registry.acquire_lease(token, "a-run", 60)
    assert not registry.watch.want_start(token, "a-run", moment)
    registry.release_leases("a-run")
    assert not registry.watch.want_start(token, "another", moment)
    assert registry.watch.want_start(token, "a-run", moment)
    assert registry.watch.want_start(token, "a-run", moment)
    assert registry.get(token).start_wanted_at == moment
    registry.watch.drop_wish(token, moment - timedelta(seconds=1))
    assert registry.get(token).start_wanted_at == moment
    registry.watch.drop_wish(token, moment)
    assert registry.get(token).start_wanted_at is None


def test_only_what_is_at_rest_and_not_wanted_since_is_failed(registry: Registry) -> None:
    token = added(registry)
    before = now() - timedelta(hours=1)
    assert not registry.watch.fail(token, FAILED, now(), unless_wanted_after=before)
    registry.acquire_lease(token, "a-run", 60)
    assert not registry.watch.fail(token, FAILED, now(), unless_wanted_after=now())
    registry.release_leases("a-run")
    moment = now()
    assert registry.watch.fail(token, FAILED, moment, unless_wanted_after=moment)
    assert registry.watch.fail(token, FAILED, moment, unless_wanted_after=moment)
    after = registry.get(token)
    assert (after.state, after.error_code, after.stopped_in) == (State.FAILED, "run_failed", State.PENDING_REPO)
    assert after.error_text == "it failed → look"


def test_what_is_finished_is_never_failed_by_a_tick(registry: Registry) -> None:
    token = added(registry)
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    assert not registry.watch.fail(token, FAILED, now(), unless_wanted_after=now())
    assert registry.get(token).state is State.PENDING_PREFS


def test_who_has_no_password_for_long_is_found_the_worst_first(registry: Registry) -> None:
    soon, late = added(registry, 1, destination="a"), added(registry, 2, destination="b")
    added(registry, 3, source="c")  # it never had one, and may get it still
    in_two_days = now() + timedelta(hours=49)
    found = registry.watch.without_password(now(), in_two_days, 10)
    assert [each.token for each in found] == [soon, late]
    registry.acquire_lease(soon, "a-run", 60)
    assert [each.token for each in registry.watch.without_password(now(), in_two_days, 10)] == [late]
    assert registry.watch.without_password(now(), now() + timedelta(hours=6), 10) == []


def test_runs_are_told_apart_by_whether_they_have_begun(registry: Registry) -> None:
    token = added(registry)
    registry.acquire_lease(token, "a-run", 60)
    assert registry.watch.begun(["a-run", "b-run"]) == {"a-run": (None, None)}
    assert registry.watch.begun([]) == {}
    assert list(registry.watch.by_token([token, "EURO-AAAAAAAAAAAAAAAA"])) == [token]
    other = NewMigration("did:web:other.example", "https://old.example", "https://new.example")
    assert registry.add(other, {}).token not in registry.watch.by_token([token])
