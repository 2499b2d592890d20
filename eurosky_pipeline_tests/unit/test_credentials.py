"""Passwords that nobody needs any more are deleted, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.conftest import Sql

PASSWORD = SecretStr("correct horse")
WAY = {State.PENDING_REPO: State.PENDING_BLOBS, State.PENDING_BLOBS: State.PENDING_PREFS}


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


@pytest.fixture
def token(registry: Registry) -> str:
    new = NewMigration("did:plc:" + "a" * 24, "https://old.example", "https://new.example")
    return registry.add(new, {Side.DESTINATION: PASSWORD, Side.SOURCE: PASSWORD}).token


@pytest.fixture
def finished(registry: Registry, token: str, sql: Sql) -> str:
    """Two hours ago, with nothing missing."""
    for before, after in WAY.items():
        registry.transition(token, before, after, {"reconciliation_status": "complete"})
    sql("UPDATE migrations SET updated_at = :then", then=ago(hours=2))
    return token


def purged(registry: Registry) -> tuple[int, int, int]:
    gone = registry.purge_credentials()
    return gone.given_up, gone.finished, gone.expired


def left(sql: Sql) -> int:
    return int(sql("SELECT count(*) FROM credentials")[0][0])


def test_what_has_expired_goes_and_nothing_else_of_one_that_is_under_way(
    registry: Registry, token: str, sql: Sql
) -> None:
    assert (purged(registry), registry.count_useless_credentials()) == ((0, 0, 0), 0)
    sql("UPDATE credentials SET expires_at = :then WHERE side = 'source'", then=ago(seconds=1))
    assert registry.count_useless_credentials() == 1
    assert purged(registry) == (0, 0, 1)
    assert registry.password(token, Side.SOURCE) is None
    assert registry.password(token, Side.DESTINATION) is not None


def test_a_finished_one_keeps_its_passwords_for_an_hour(registry: Registry, finished: str, sql: Sql) -> None:
    sql("UPDATE migrations SET updated_at = :then", then=ago(minutes=50))
    assert (purged(registry), registry.count_useless_credentials()) == ((0, 0, 0), 0)
    sql("UPDATE migrations SET updated_at = :then", then=ago(minutes=61))
    assert purged(registry) == (0, 2, 0)
    assert registry.password(finished, Side.DESTINATION) is None


@pytest.mark.parametrize("status", ["partial", "skipped", "error"])
def test_one_that_is_finished_with_something_missing_keeps_them_until_they_expire(
    registry: Registry, finished: str, status: str, sql: Sql
) -> None:
    registry.record(finished, {"reconciliation_status": status})
    sql("UPDATE migrations SET updated_at = :then", then=ago(hours=40))
    assert purged(registry) == (0, 0, 0)


@pytest.mark.usefixtures("finished")
def test_one_that_a_run_works_on_keeps_them(registry: Registry, finished: str, sql: Sql) -> None:
    registry.acquire_lease(finished, "run-1", 60)
    sql("UPDATE migrations SET updated_at = :then", then=ago(hours=2))
    assert purged(registry) == (0, 0, 0)
    registry.release_leases("run-1")
    assert purged(registry) == (0, 2, 0)


def test_one_that_waits_or_has_failed_keeps_them(registry: Registry, token: str, sql: Sql) -> None:
    registry.wait(token, datetime.now(UTC) + timedelta(days=1), RateLimited("no more today"))
    sql("UPDATE migrations SET updated_at = :then", then=ago(hours=40))
    assert purged(registry) == (0, 0, 0)
    registry.resume(token)
    registry.fail(token, FatalError("no", code="disk"))
    sql("UPDATE migrations SET updated_at = :then", then=ago(hours=40))
    assert purged(registry) == (0, 0, 0)


def test_one_that_is_cancelled_or_completed_loses_them_at_once(registry: Registry, finished: str, sql: Sql) -> None:
    registry.transition(finished, State.PENDING_PREFS, State.COMPLETED)
    assert left(sql) == 0
    new = NewMigration("did:plc:" + "a" * 24, "https://old.example", "https://new.example")
    registry.request_cancel(registry.add(new, {Side.SOURCE: PASSWORD}).token)
    assert left(sql) == 0


def test_a_cancelled_one_that_still_has_any_loses_them(registry: Registry, token: str, sql: Sql) -> None:
    sql("UPDATE migrations SET state = 'cancelled'")  # as an older version of the program leaves it
    assert registry.count_useless_credentials() == 2
    assert purged(registry) == (2, 0, 0)
    assert registry.get(token).state is State.CANCELLED
