"""Many migrations at once, on both databases: added, left as they are, or in the way; also when two ask at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.intake import Taken, Verdict
from eurosky_pipeline.registry.queries import Wanted
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.registering import did_of, offer


def verdicts(taken: list[Taken]) -> list[Verdict]:
    return [found.verdict for found in taken]


def test_offers_become_migrations_with_the_tokens_that_they_came_with(registry: Registry) -> None:
    offers = [offer(number) for number in range(3)]
    assert registry.take_in(offers) == [Taken(Verdict.ADDED, given.token) for given in offers]
    migration = registry.get(offers[1].token)
    assert (migration.did, migration.state, migration.convert_legacy_blobs) == (did_of(1), State.PENDING_REPO, True)
    assert migration.progress_data == {}
    assert registry.password(offers[1].token, Side.DESTINATION) == SecretStr("hunter2")


def test_no_offers_are_no_fault(registry: Registry) -> None:
    assert registry.take_in([]) == []


def test_the_same_again_is_unchanged_and_its_password_is_the_new_one_for_another_48_hours(
    registry: Registry, sql: Sql
) -> None:
    first = offer(1)
    registry.take_in([first])
    sql("UPDATE credentials SET expires_at = :then", then=str(datetime.now(UTC) + timedelta(minutes=1)))
    assert registry.take_in([offer(1, "changed"), offer(2)])[0] == Taken(Verdict.UNCHANGED, first.token)
    assert registry.password(first.token, Side.DESTINATION) == SecretStr("changed")
    assert len(list(registry.each())) == 2
    ((expires_at,),) = sql("SELECT expires_at FROM credentials WHERE token = :token", token=first.token)
    left = datetime.fromisoformat(f"{expires_at}").replace(tzinfo=UTC) - datetime.now(UTC)
    assert left > timedelta(hours=47)


def test_a_password_that_was_purged_is_given_anew(registry: Registry, sql: Sql) -> None:
    first = offer(1)
    registry.take_in([first])
    sql("DELETE FROM credentials")
    registry.take_in([offer(1, "again")])
    assert registry.password(first.token, Side.DESTINATION) == SecretStr("again")


def test_the_password_of_one_that_waits_long_is_not_kept_for_less(registry: Registry, sql: Sql) -> None:
    first = offer(1)
    registry.take_in([first])
    registry.wait(first.token, datetime.now(UTC) + timedelta(days=9), RateLimited("later"))
    before = sql("SELECT expires_at FROM credentials")
    registry.take_in([offer(1, "changed")])
    assert sql("SELECT expires_at FROM credentials") == before
    assert registry.password(first.token, Side.DESTINATION) == SecretStr("changed")


def test_one_that_is_finished_with_nothing_missing_gets_no_password_any_more(registry: Registry, sql: Sql) -> None:
    first = offer(1)
    registry.take_in([first])
    registry.transition(first.token, State.PENDING_REPO, State.PENDING_BLOBS)
    done = {"reconciliation_status": "complete"}
    registry.transition(first.token, State.PENDING_BLOBS, State.PENDING_PREFS, done)
    sql("DELETE FROM credentials")
    assert verdicts(registry.take_in([offer(1)])) == [Verdict.UNCHANGED]
    assert registry.password(first.token, Side.DESTINATION) is None


def test_between_other_hosts_it_is_in_the_way_and_keeps_its_password(registry: Registry) -> None:
    first = offer(1)
    registry.take_in([first])
    elsewhere = offer(1, "other", "https://elsewhere.example")
    assert registry.take_in([elsewhere, offer(2)]) == [
        Taken(Verdict.IN_THE_WAY, first.token),
        Taken(Verdict.ADDED, list(registry.each())[-1].token),
    ]
    assert registry.password(first.token, Side.DESTINATION) == SecretStr("hunter2")


def test_a_did_whose_migration_has_failed_may_come_again(registry: Registry) -> None:
    first = offer(1)
    registry.take_in([first])
    registry.fail(first.token, FatalError("no", code="fatal"))
    assert verdicts(registry.take_in([offer(1, destination="https://elsewhere.example")])) == [Verdict.ADDED]


def test_an_offer_whose_commit_was_in_doubt_is_still_added_when_it_is_made_again(registry: Registry) -> None:
    given = [offer(1), offer(2)]
    assert registry.take_in(given) == registry.take_in(given)
    assert len(list(registry.each())) == 2


def test_of_two_lists_at_once_each_did_is_added_once_and_nobody_else_is_lost(
    registry: Registry, settings: Settings
) -> None:
    barrier = threading.Barrier(2)

    def hand_in(start: int) -> list[Verdict]:
        own = open_registry(settings)
        try:
            barrier.wait(30)
            return [
                verdict
                for batch in range(start, start + 200, 20)
                for verdict in verdicts(own.take_in([offer(number) for number in range(batch, batch + 20)]))
            ]
        finally:
            own.close()

    with ThreadPoolExecutor(2) as pool:
        found = [verdict for result in pool.map(hand_in, (0, 100)) for verdict in result]
    assert found.count(Verdict.ADDED) == 300
    assert found.count(Verdict.UNCHANGED) == 100
    assert len({migration.did for migration in registry.each()}) == len(list(registry.each())) == 300


def test_one_that_another_process_adds_at_that_moment_does_not_take_its_neighbours_with_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eurosky_pipeline.registry import intake

    first = offer(1)
    registry.take_in([first])
    is_seen = [False]
    real = intake.active_by_did

    def too_early(connection: object, dids: list[str]) -> object:
        if len(dids) > 1:  # as if the other one were not there yet
            is_seen[0] = True
            return {}
        return real(connection, dids)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "active_by_did", too_early)
    taken = registry.take_in([offer(0), offer(1), offer(2)])
    assert is_seen[0]
    assert verdicts(taken) == [Verdict.ADDED, Verdict.UNCHANGED, Verdict.ADDED]
    assert taken[1].token == first.token
    assert len(list(registry.each(Wanted()))) == 3
