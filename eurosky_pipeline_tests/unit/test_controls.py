"""The pause: who begins and ends it, what is kept of it, and that it may be asked for twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from eurosky_pipeline.registry.controls import Controls, Hosts, open_controls, set_control
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.pause import MAX_NOTE, Pause, PausedError
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.builders import DID
from eurosky_pipeline_tests.conftest import Sql


@pytest.fixture
def desk(settings: Settings, registry: Registry) -> Iterator[Controls]:
    opened = open_controls(settings)
    yield opened
    opened.close()


def test_nothing_is_paused_until_somebody_says_so(registry: Registry, desk: Controls) -> None:
    assert registry.paused() is desk.paused() is None
    registry.require_not_paused()
    assert registry.end_pause() is None


def test_a_pause_is_seen_by_all_with_its_beginning_and_its_words_until_it_is_ended(
    registry: Registry, desk: Controls
) -> None:
    before = datetime.now(UTC)
    pause = registry.pause("the new disk")
    assert before <= pause.since <= datetime.now(UTC)
    assert registry.paused() == desk.paused() == pause
    with pytest.raises(PausedError, match="the new disk") as caught:
        registry.require_not_paused()
    assert caught.value.code == "paused"
    assert "eurosky resume" in caught.value.hint
    assert registry.end_pause() == pause
    assert registry.paused() is None


def test_who_pauses_what_is_paused_changes_the_words_at_most(registry: Registry) -> None:
    first = registry.pause("the new disk")
    assert registry.pause() == first
    assert registry.pause("and the new database") == Pause(first.since, "and the new database") == registry.paused()


def test_the_words_are_one_bounded_line_that_no_terminal_obeys(registry: Registry) -> None:
    assert registry.pause(" a\x1b[31m red\n\tone\x00\u202e ").note == "a [31m red one"
    assert len(registry.pause("x" * 10_000).note) == MAX_NOTE


def test_the_queue_heeds_one_pause_and_not_the_next_before_it_has_seen_it(registry: Registry, desk: Controls) -> None:
    first = registry.pause()
    assert not desk.is_seen(first)
    desk.see(first)
    desk.see(first)
    assert desk.is_seen(first)
    registry.end_pause()
    second = registry.pause()
    assert second.since > first.since
    assert not desk.is_seen(second)


def test_of_many_that_pause_at_once_one_has_begun_it(registry: Registry, desk: Controls) -> None:
    found: list[Pause] = []
    threads = [threading.Thread(target=lambda: found.append(registry.pause())) for _ in range(8)]
    threads += [
        threading.Thread(target=lambda: set_control(desk._engine, "other", "x", datetime.now(UTC))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {registry.paused()}


def test_the_queue_learns_a_migrations_hosts_and_nothing_of_an_unknown_one(registry: Registry, desk: Controls) -> None:
    token = registry.add(NewMigration(DID, "https://old.example", "https://new.example"), {}).token
    assert desk.hosts_of(token) == Hosts("https://old.example", "https://new.example")
    assert desk.hosts_of("EURO-nobody") is None


def test_of_eight_that_come_for_one_run_one_gets_it_and_may_say_so_again(
    settings: Settings, registry: Registry, desk: Controls
) -> None:
    barrier = threading.Barrier(8)

    def claim(number: int) -> bool:
        mine = open_controls(settings)
        try:
            barrier.wait(10)
            return mine.claim_run("run-1", f"worker-{number}")
        finally:
            mine.close()

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(claim, range(8)))
    assert got.count(True) == 1
    winner = f"worker-{got.index(True)}"
    assert desk.claim_run("run-1", winner)
    assert not desk.claim_run("run-1", "worker-8")
    assert desk.claim_run("run-2", "worker-8")


def test_claims_of_long_ago_are_deleted_and_a_pause_is_not(desk: Controls, registry: Registry, sql: Sql) -> None:
    desk.claim_run("run-1", "worker-1")
    pause = registry.pause()
    sql("UPDATE controls SET set_at = '2020-01-01 00:00:00+00'")
    desk.claim_run("run-2", "worker-2")
    assert len(sql("SELECT name FROM controls WHERE name LIKE 'run:%'")) == 1
    assert registry.paused() == Pause(datetime(2020, 1, 1, tzinfo=UTC), pause.note)
