"""What a tick of the intake names to be started: the oldest wish first, each in its turn, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.intake.queue import MAX_LOOKED_AT
from eurosky_pipeline.intake.registered import RegisteredSource
from eurosky_pipeline.plugins.intake_sources import Registered, Reply
from eurosky_pipeline.registry.migration import Migration, new_token
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.registering import offer
from eurosky_pipeline_tests.unit.offering import Offering, tick


def register(registry: Registry, count: int) -> list[str]:
    offers = [offer(number) for number in range(count)]
    registry.take_in(offers)
    return [given.token for given in offers]


def test_those_registered_are_started_oldest_wish_first_and_each_in_its_turn(registry: Registry) -> None:
    tokens = register(registry, 7)
    found: list[tuple[str, ...]] = []
    cursors: Mapping[str, str] = {}
    for _ in range(3):
        polled = tick(registry, RegisteredSource(), limit=3, cursors=cursors)
        found.append(polled.tokens)
        cursors = polled.cursors
    assert [token for tick_ in found for token in tick_] == [*tokens, *tokens[:2]]  # and then anew


def test_one_tick_starts_none_twice_however_few_there_are(registry: Registry) -> None:
    tokens = register(registry, 5)
    first = tick(registry, RegisteredSource(), limit=3)
    second = tick(registry, RegisteredSource(), limit=50, cursors=first.cursors)
    assert sorted(second.tokens) == sorted(tokens)


def test_what_cannot_start_now_keeps_nobody_from_his_turn(embedded: Registry) -> None:
    tokens = register(embedded, 6)
    busy = set(tokens[:4])
    asked: list[str] = []

    def can_start(migration: Migration) -> bool:
        asked.append(migration.token)
        return migration.token not in busy

    assert tick(embedded, RegisteredSource(), limit=2, can_start=can_start).tokens == tuple(tokens[4:])
    assert asked == tokens  # each once: it costs a query


def test_a_tick_looks_at_so_many_only_and_the_next_goes_on_behind_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = register(registry, MAX_LOOKED_AT + 20)
    polled = tick(registry, RegisteredSource(), can_start=lambda _: False)
    assert polled.tokens == ()
    polled = tick(registry, RegisteredSource(), limit=5, cursors=polled.cursors)
    assert polled.tokens == tuple(tokens[MAX_LOOKED_AT : MAX_LOOKED_AT + 5])


@pytest.mark.parametrize("cursor", ["", "x", "2026-01-01T00:00:00 EURO-X", "not a moment EURO-X", " "])
def test_a_cursor_that_somebody_has_edited_begins_anew(embedded: Registry, cursor: str) -> None:
    tokens = register(embedded, 2)
    assert tick(embedded, RegisteredSource(), cursors={"@place": cursor}).tokens == tuple(tokens)


def test_only_what_wants_to_be_started_and_nobody_works_on_is(registry: Registry, sql: Sql) -> None:
    tokens = register(registry, 6)
    held, failed, started, wished, finished, wanted = tokens
    registry.acquire_lease(held, "run-1", 60)
    sql("UPDATE migrations SET start_wanted_at = created_at WHERE token = :token", token=held)
    registry.fail(failed, FatalError("it failed"))
    registry.acquire_lease(started, "run-2", 60)
    registry.release_leases("run-2")
    sql("UPDATE migrations SET cancel_requested_at = created_at WHERE token = :token", token=wished)
    sql("UPDATE migrations SET state = :state WHERE token = :token", state=State.PENDING_PREFS, token=finished)
    assert tick(registry, RegisteredSource()).tokens == (wanted,)
    sql("UPDATE migrations SET lease_expires_at = created_at WHERE token = :token", token=held)
    assert tick(registry, RegisteredSource()).tokens == (held, wanted)


def test_a_source_may_name_what_is_registered_and_that_is_looked_at_too(registry: Registry) -> None:
    tokens = register(registry, 3)
    registry.acquire_lease(tokens[2], "run-1", 60)
    named = [Registered(token) for token in (tokens[0], tokens[2], new_token(), "../x", tokens[1])]
    source = Offering(*named)
    polled = tick(registry, source, limit=1)
    assert polled.tokens == (tokens[0],)
    assert source.replies == [Reply.STARTED, Reply.REJECTED, Reply.REJECTED, Reply.REJECTED]  # the last: no room
    assert polled.rejected == 3
