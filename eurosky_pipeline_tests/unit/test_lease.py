"""The lease: one run at a time works on a migration, for as long as it works and lives."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from eurosky_pipeline.errors import ConflictError, SettingsError
from eurosky_pipeline.registry.lease import LEASE_LIFETIME_S, hold_lease
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Vault
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.conftest import Sql

SHORT_S = 3.0
"""A lifetime whose renewals a test can wait for, one a second, and that outlasts what else a machine is doing."""


@pytest.fixture
def token(registry: Registry) -> str:
    return add(registry, "did:plc:ewvi7nxzyoun6zhxrhs64oiz")


def add(registry: Registry, did: str) -> str:
    return registry.add(NewMigration(did, "https://old.example", "https://new.example"), {}).token


def give_to_a_thief(sql: Sql, token: str) -> None:
    """What a run that took over an expired lease does to the row."""
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    sql(f"UPDATE migrations SET lease_holder = 'thief', lease_expires_at = '{later}' WHERE token = :token", token=token)


def lose_to(registry: Registry, sql: Sql, token: str, holder: str) -> None:
    """The lease runs out, and another run comes, works and ends."""
    while True:
        sql("UPDATE migrations SET lease_expires_at = '2020-01-01 00:00:00+00' WHERE token = :token", token=token)
        try:
            registry.acquire_lease(token, holder, 60)
        except LeaseHeldError:  # the holder has just renewed it
            continue
        registry.release_leases(holder)
        return


def test_a_lease_is_held_by_one_and_names_its_holder(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    with pytest.raises(LeaseHeldError, match=f"{token} is being worked on by run run-1") as caught:
        registry.acquire_lease(token, "run-2", 60)
    assert caught.value.code == "lease_held"
    assert isinstance(caught.value, ConflictError)
    migration = registry.get(token)
    assert migration.lease_holder == "run-1"
    assert migration.lease_expires_at is not None
    assert 55 < (migration.lease_expires_at - datetime.now(UTC)).total_seconds() <= 60


def test_of_eight_runs_that_start_at_once_one_gets_the_lease(
    registry: Registry, settings: Settings, token: str
) -> None:
    barrier = threading.Barrier(8)

    def acquire(number: int) -> bool:
        with closing(open_registry(settings)) as mine:
            barrier.wait(10)
            try:
                mine.acquire_lease(token, f"run-{number}", 60)
            except LeaseHeldError:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(acquire, range(8)))
    assert results.count(True) == 1
    assert registry.get(token).lease_holder == f"run-{results.index(True)}"
    assert registry.get(token).attempts == 1


def test_the_holder_may_renew_and_that_is_no_new_attempt(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 1)
    first = registry.get(token).lease_expires_at
    registry.acquire_lease(token, "run-1", 60)
    renewed = registry.get(token)
    assert renewed.attempts == 1
    assert first is not None
    assert renewed.lease_expires_at is not None
    assert renewed.lease_expires_at > first


def test_an_expired_lease_goes_to_the_next_run_as_another_attempt(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", -1)
    registry.acquire_lease(token, "run-2", 60)
    assert (registry.get(token).lease_holder, registry.get(token).attempts) == ("run-2", 2)
    with pytest.raises(LeaseHeldError):
        registry.acquire_lease(token, "run-1", 60)


def test_a_released_lease_is_free_for_anybody(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    registry.release_leases("run-1")
    registry.acquire_lease(token, "run-2", 60)
    assert registry.get(token).attempts == 2


def test_a_run_lets_go_of_all_its_leases_and_of_no_others(registry: Registry, token: str) -> None:
    second, third = (add(registry, f"did:web:{name}.example") for name in ("b", "c"))
    registry.acquire_lease(token, "run-1", 60)
    registry.acquire_lease(second, "run-1", 60)
    registry.acquire_lease(third, "run-2", 60)
    registry.release_leases("run-1")
    assert [registry.get(each).lease_expires_at is None for each in (token, second, third)] == [True, True, False]


def test_a_migration_that_does_not_exist_has_no_lease(registry: Registry) -> None:
    with pytest.raises(SettingsError, match="there is no migration"):
        registry.acquire_lease("EURO-0000000000000000", "run-1", 60)


def test_a_lease_outlives_two_missed_renewals() -> None:
    assert 60 <= LEASE_LIFETIME_S <= 120  # and a dead run's is over within the two minutes that the hint promises


def wait_for_a_renewal(registry: Registry, token: str) -> None:
    before, deadline_s = registry.get(token).lease_expires_at, time.monotonic() + 30
    while registry.get(token).lease_expires_at == before:
        assert time.monotonic() < deadline_s, "nobody renews it"
        time.sleep(0.05)


def test_a_held_lease_is_renewed_for_as_long_as_the_block_runs(registry: Registry, token: str) -> None:
    stop = threading.Event()
    with hold_lease(registry, token, "run-1", stop, lifetime_s=SHORT_S):
        for _ in range(2):
            wait_for_a_renewal(registry, token)
        with pytest.raises(LeaseHeldError):
            registry.acquire_lease(token, "run-2", 60)
    assert not stop.is_set()
    assert registry.get(token).attempts == 1


def test_the_lease_stays_after_the_block_and_expires_unless_the_run_goes_on(registry: Registry, token: str) -> None:
    with hold_lease(registry, token, "run-1", threading.Event(), lifetime_s=60):
        pass
    with pytest.raises(LeaseHeldError):
        registry.acquire_lease(token, "run-2", 60)
    assert not [thread for thread in threading.enumerate() if thread.name == f"lease-{token}"]
    expires_at = registry.get(token).lease_expires_at
    assert expires_at is not None
    assert expires_at - datetime.now(UTC) <= timedelta(seconds=60)


def test_the_next_step_of_the_same_run_goes_on_with_the_lease(registry: Registry, token: str) -> None:
    for _ in range(2):
        with hold_lease(registry, token, "run-1", threading.Event()):
            pass
    assert registry.get(token).attempts == 1


def test_a_block_is_not_entered_while_another_run_holds_the_lease(registry: Registry, token: str) -> None:
    registry.acquire_lease(token, "run-1", 60)
    stop = threading.Event()
    with pytest.raises(LeaseHeldError), hold_lease(registry, token, "run-2", stop):
        pytest.fail("two runs work on one migration")
    assert not stop.is_set()


def work_until_stopped(registry: Registry, sql: Sql, token: str, *, then: Exception | None = None) -> None:
    stop = threading.Event()
    with hold_lease(registry, token, "run-1", stop, lifetime_s=SHORT_S):
        give_to_a_thief(sql, token)
        assert stop.wait(30), "nobody said that the lease was lost"
        if then is not None:
            raise then


def test_a_lost_lease_asks_the_work_to_stop_and_is_an_error(registry: Registry, token: str, sql: Sql) -> None:
    with pytest.raises(LeaseHeldError, match="thief"):
        work_until_stopped(registry, sql, token)
    assert registry.get(token).lease_holder == "thief"


def test_what_the_work_raised_is_not_hidden_by_a_lost_lease(registry: Registry, token: str, sql: Sql) -> None:
    with pytest.raises(ZeroDivisionError):
        work_until_stopped(registry, sql, token, then=ZeroDivisionError())


@pytest.mark.parametrize("database_url", [None])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_database_that_is_busy_for_a_moment_does_not_end_the_renewals(
    registry: Registry, token: str, tmp_path: Path
) -> None:
    path = tmp_path / "registry.sqlite"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.01})
    impatient = Registry(engine, Vault([Fernet.generate_key()]))
    with hold_lease(impatient, token, "run-1", threading.Event(), lifetime_s=SHORT_S):
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.6 * SHORT_S)
            other.execute("ROLLBACK")
        wait_for_a_renewal(registry, token)
        with pytest.raises(LeaseHeldError):
            registry.acquire_lease(token, "run-2", 60)
    impatient.close()


def test_a_run_that_wakes_after_another_one_has_ended_can_neither_go_on_nor_change_anything(
    registry: Registry, sql: Sql, token: str
) -> None:
    registry.acquire_lease(token, "run-1", 60)
    lose_to(registry, sql, token, "run-2")
    with pytest.raises(LeaseHeldError, match="was away for so long") as caught:
        registry.acquire_lease(token, "run-1", 60)
    assert caught.value.code == "attempt_over"
    assert not registry.fail(token, SettingsError("woken"), holder="run-1")
    migration = registry.get(token)
    assert (migration.attempts, migration.lease_holder, migration.state) == (2, "run-2", State.PENDING_REPO)
    assert [attempt.holder for attempt in registry.attempts_of(token)] == ["run-1", "run-2"]


def test_its_renewal_stops_the_work_of_such_a_run(registry: Registry, sql: Sql, token: str) -> None:
    stop = threading.Event()

    def work() -> None:
        with hold_lease(registry, token, "run-1", stop, lifetime_s=SHORT_S):
            lose_to(registry, sql, token, "run-2")
            stop.wait(60)

    with pytest.raises(LeaseHeldError, match="was away for so long"):
        work()
    assert registry.get(token).attempts == 2


def test_a_run_that_was_taken_for_lost_does_not_go_on_though_nobody_else_has_begun(
    registry: Registry, token: str
) -> None:
    registry.acquire_lease(token, "run-1", 60)
    found = registry.watch.open_attempts(10, "")[0]
    assert registry.watch.put_right(found, datetime.now(UTC), is_startable=True) is not None
    with pytest.raises(LeaseHeldError) as caught:
        registry.acquire_lease(token, "run-1", 60)
    assert caught.value.code == "attempt_over"
    assert registry.get(token).start_wanted_at is not None  # the next one is still wanted
