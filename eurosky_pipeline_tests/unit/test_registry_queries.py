"""Looking for migrations page by page, on both databases: which, in which order, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from eurosky_pipeline.errors import ConflictError, FatalError
from eurosky_pipeline.registry.database import open_engine
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.queries import Place, Wanted, each, place_of
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.conftest import Sql

DAY = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW, OTHER = "https://old.example", "https://new.example", "https://other.example"


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    opened = open_engine(settings)
    yield opened
    opened.dispose()


@pytest.fixture
def tokens(registry: Registry, sql: Sql) -> list[str]:
    """Seven migrations, oldest first; three of them begun at the same moment, the last one between other hosts."""
    added = []
    for number in range(7):
        hosts = (OTHER, OLD) if number == 6 else (OLD, NEW)
        new = NewMigration("did:plc:" + "abcdefg"[number] * 24, *hosts)
        added.append(registry.add(new, {}).token)
    # three at once: their order is that of their tokens
    added[2:5] = sorted(added[2:5])
    for number, token in enumerate(added):
        begun = DAY + timedelta(days=2 if 2 <= number < 5 else number)
        sql("UPDATE migrations SET created_at = :begun WHERE token = :token", begun=spelled(begun), token=token)
    return added


def spelled(moment: datetime) -> str:
    """As both databases take it, and as SQLite keeps it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def test_every_migration_comes_once_oldest_first_however_long_a_page_is(engine: Engine, tokens: list[str]) -> None:
    for page_rows in (1, 2, 3, 7, 200):
        assert [migration.token for migration in each(engine, Wanted(), page_rows=page_rows)] == tokens


def test_at_most_so_many_as_are_asked_for(engine: Engine, tokens: list[str]) -> None:
    for limit in (1, 2, 3, 4, 7, 100):
        assert [migration.token for migration in each(engine, Wanted(), limit, page_rows=2)] == tokens[:limit]


def test_every_condition_is_the_database_s_to_judge(engine: Engine, registry: Registry, tokens: list[str]) -> None:
    def found(**conditions: object) -> list[str]:
        return [migration.token for migration in each(engine, replace(Wanted(), **conditions), page_rows=2)]  # type: ignore[arg-type]

    registry.transition(tokens[1], State.PENDING_REPO, State.CANCELLED)
    registry.acquire_lease(tokens[3], "a run", 60)
    assert found(states=(State.CANCELLED,)) == [tokens[1]]
    assert found(states=(State.CANCELLED, State.PENDING_REPO)) == tokens
    assert found(host=OTHER) == tokens[6:]
    assert found(host=OLD) == tokens
    assert found(host="https://nobody.example") == []
    assert found(created_before=DAY + timedelta(days=2)) == tokens[:2]
    assert found(created_after=DAY + timedelta(days=2)) == tokens[2:]
    assert found(created_after=DAY + timedelta(days=1), created_before=DAY + timedelta(days=3)) == tokens[1:5]
    assert found(is_untried=True) == [*tokens[:3], *tokens[4:]]
    assert found(after=place_of(registry.get(tokens[2]))) == tokens[3:]
    assert found(after=Place(DAY + timedelta(days=2), "")) == tokens[2:]
    assert found(host=NEW, after=place_of(registry.get(tokens[3])), is_untried=True) == tokens[4:6]


def test_what_is_registered_while_one_looks_comes_last(engine: Engine, registry: Registry, tokens: list[str]) -> None:
    looking = each(engine, Wanted(), page_rows=2)
    assert next(looking).token == tokens[0]
    late = registry.add(NewMigration("did:plc:" + "z" * 24, OLD, NEW), {}).token
    assert [migration.token for migration in looking] == [*tokens[1:], late]


def test_who_adds_a_did_again_is_told_the_token_of_its_active_migration(registry: Registry, tokens: list[str]) -> None:
    with pytest.raises(ConflictError, match=tokens[0]) as caught:
        registry.add(NewMigration("did:plc:" + "a" * 24, OLD, NEW), {})
    assert caught.value.code == "already_active"


def test_one_is_outdated_where_its_account_has_another_that_is_active_or_a_later_one_not_given_up(
    engine: Engine, registry: Registry, tokens: list[str]
) -> None:
    def again() -> str:
        registry.fail(tokens[0], FatalError("no", code="wrong_password"))
        return registry.add(NewMigration("did:plc:" + "a" * 24, OLD, NEW), {}).token

    def outdated() -> list[str]:
        return [found.token for found in each(engine, Wanted(is_outdated=True))]

    assert outdated() == []
    newer = again()
    assert outdated() == [tokens[0]]
    registry.request_cancel(newer)
    assert outdated() == []
    registry.retry(tokens[0])
    assert outdated() == [newer]
    assert [found.token for found in each(engine, Wanted(is_outdated=False))] == tokens
