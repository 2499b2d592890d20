"""The sensors: one run request for each new migration, and for each whose wait is over, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunRequest, SensorResult, SkipReason, build_sensor_context
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.errors import ConflictError, PermanentError
from eurosky_pipeline.orchestration.sensors import new_migrations, resume_waiting, starts
from eurosky_pipeline.orchestration.sensors.resume_waiting import RESUME_AT_TAG
from eurosky_pipeline.orchestration.sensors.starts import MAX_STARTS_IN_VAIN
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.xrpc.errors import RateLimited


def tick(instance: DagsterInstance) -> SensorResult | SkipReason:
    return new_migrations(build_sensor_context(instance=instance))


def test_a_new_migration_gets_its_partition_and_one_run(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        result = tick(instance)
        assert isinstance(result, SensorResult)
        assert [request.partition_keys for request in result.dynamic_partitions_requests] == [[migration.token]]
        (request,) = result.run_requests
        assert (request.partition_key, request.run_key) == (migration.token, f"{migration.token}/0")
        assert request.tags["eurosky/destination_pds"] == migration.destination_pds


def test_what_a_sensor_asks_for_does_not_tell_whose_account_it_is(migration: Migration) -> None:
    """Dagster keeps it with the tick, where no purge of the run reaches."""
    with DagsterInstance.ephemeral() as instance:
        result = tick(instance)
        assert isinstance(result, SensorResult)
        assert migration.did not in str(result)
        assert migration.handle is not None
        assert migration.handle not in str(result)


def run_of(instance: DagsterInstance, token: str, status: DagsterRunStatus) -> None:
    create_run_for_test(instance, tags={"dagster/partition": token}, status=status)


def test_one_that_has_a_run_under_way_is_not_asked_for_again(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        run_of(instance, migration.token, DagsterRunStatus.STARTED)
        assert isinstance(tick(instance), SkipReason)


def test_one_whose_run_ended_before_its_first_step_is_started_anew_but_not_for_ever(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        for ended in (1, 2):
            run_of(instance, migration.token, DagsterRunStatus.CANCELED)
            (request,) = tick(instance).run_requests
            assert request.run_key == f"{migration.token}/{ended}"
        run_of(instance, migration.token, DagsterRunStatus.FAILURE)
        assert isinstance(tick(instance), SkipReason)


def test_one_that_has_failed_is_left_to_a_person(migration: Migration, registry: Registry) -> None:
    registry.fail(migration.token, PermanentError("no"))
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(instance), SkipReason)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def put_off(registry: Registry, token: str, until: datetime) -> None:
    assert registry.wait(token, until, RateLimited("new.example allows no more for 3600 s"))


def resume_tick(instance: DagsterInstance) -> SensorResult | SkipReason:
    return resume_waiting(build_sensor_context(instance=instance))


def launched(instance: DagsterInstance, request: RunRequest, status: DagsterRunStatus) -> None:
    """What the daemon makes of a request."""
    tags = {**request.tags, "dagster/partition": str(request.partition_key), "dagster/run_key": str(request.run_key)}
    create_run_for_test(instance, tags=tags, status=status)


def test_what_has_waited_long_enough_gets_its_partition_and_one_run(migration: Migration, registry: Registry) -> None:
    until = ago(1)
    put_off(registry, migration.token, until)
    with DagsterInstance.ephemeral() as instance:
        result = resume_tick(instance)
        assert isinstance(result, SensorResult)
        assert [request.partition_keys for request in result.dynamic_partitions_requests] == [[migration.token]]
        (request,) = result.run_requests
        resume_at = until.isoformat(timespec="seconds")
        assert (request.partition_key, request.run_key) == (migration.token, f"{migration.token}/{resume_at}/0")
        assert request.tags[RESUME_AT_TAG] == resume_at
    assert registry.get(migration.token).state is State.WAITING  # until the run itself takes it up


def test_before_its_time_nothing_happens_and_the_tick_says_when(migration: Migration, registry: Registry) -> None:
    until = ago(-3600)
    put_off(registry, migration.token, until)
    with DagsterInstance.ephemeral() as instance:
        result = resume_tick(instance)
    assert isinstance(result, SkipReason)
    assert f"{until:%Y-%m-%d at %H:%M:%S} UTC" in str(result.skip_message)


def test_where_nothing_waits_nothing_happens(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(resume_tick(instance), SkipReason)


def test_of_two_ticks_at_once_the_requests_have_one_key(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    with DagsterInstance.ephemeral() as instance:
        first, second = resume_tick(instance), resume_tick(instance)
        assert [r.run_key for r in first.run_requests] == [r.run_key for r in second.run_requests]


@pytest.mark.parametrize("status", [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_what_has_a_run_under_way_is_not_resumed_beside_it(
    migration: Migration, registry: Registry, status: DagsterRunStatus
) -> None:
    put_off(registry, migration.token, ago(1))
    with DagsterInstance.ephemeral() as instance:
        run_of(instance, migration.token, status)
        assert isinstance(resume_tick(instance), SkipReason)


def test_what_a_run_of_another_instance_holds_is_left_to_it(migration: Migration, registry: Registry) -> None:
    registry.acquire_lease(migration.token, "a-run", 60)
    put_off(registry, migration.token, ago(1))
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(resume_tick(instance), SkipReason)
        registry.release_leases("a-run")
        assert isinstance(resume_tick(instance), SensorResult)


def test_a_wait_whose_runs_come_to_nothing_is_ended_anew_but_not_for_ever(
    migration: Migration, registry: Registry
) -> None:
    put_off(registry, migration.token, ago(1))
    with DagsterInstance.ephemeral() as instance:
        for ended in range(MAX_STARTS_IN_VAIN):
            (request,) = resume_tick(instance).run_requests
            assert request.run_key.endswith(f"/{ended}")
            launched(instance, request, DagsterRunStatus.CANCELED)
        assert isinstance(resume_tick(instance), SkipReason)


def test_each_further_wait_gets_a_run_of_its_own(migration: Migration, registry: Registry) -> None:
    keys = set()
    with DagsterInstance.ephemeral() as instance:
        for number in range(MAX_STARTS_IN_VAIN + 2):
            put_off(registry, migration.token, ago(100 - number))
            (request,) = resume_tick(instance).run_requests
            keys.add(request.run_key)
            launched(instance, request, DagsterRunStatus.SUCCESS)
            registry.resume(migration.token)
    assert len(keys) == MAX_STARTS_IN_VAIN + 2


def test_what_is_cancelled_while_it_waits_stays_so(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    registry.cancel(migration.token)
    with DagsterInstance.ephemeral() as instance:
        assert isinstance(resume_tick(instance), SkipReason)
    after = registry.get(migration.token)
    assert (after.state, after.resume_at, after.stopped_in) == (State.CANCELLED, None, State.PENDING_REPO)


def test_one_tick_starts_no_more_than_its_share_the_longest_overdue_first(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_STARTS_PER_TICK", 2)
    tokens = []
    for number in range(4):
        new = NewMigration(f"did:web:{number}.example", "https://old.example", "https://new.example")
        tokens.append(registry.add(new, {}).token)
        put_off(registry, tokens[-1], ago(number + 1))
    with DagsterInstance.ephemeral() as instance:
        result = resume_tick(instance)
        assert [request.partition_key for request in result.run_requests] == [tokens[3], tokens[2]]
        for request in result.run_requests:
            launched(instance, request, DagsterRunStatus.STARTED)
        result = resume_tick(instance)
        assert [request.partition_key for request in result.run_requests] == [tokens[1], tokens[0]]


def test_no_other_migration_of_the_account_is_taken_while_one_waits(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    with pytest.raises(ConflictError, match=f"already has an active migration, {migration.token}"):
        registry.add(NewMigration(migration.did, "https://old.example", "https://new.example"), {})


def test_however_many_are_new_a_tick_looks_at_so_many_and_the_next_goes_on_behind_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_LOOKED_AT_PER_TICK", 3)
    monkeypatch.setattr(starts, "MAX_STARTS_PER_TICK", 2)
    added = [
        registry.add(NewMigration(f"did:plc:{letter * 24}", "https://old.example", "https://new.example"), {}).token
        for letter in "abcde"
    ]
    with DagsterInstance.ephemeral() as instance:
        run_of(instance, added[0], DagsterRunStatus.STARTED)

        def next_tick(cursor: str | None) -> tuple[list[str], str | None]:
            context = build_sensor_context(instance=instance, cursor=cursor)
            result = new_migrations(context)
            assert isinstance(result, SensorResult | SkipReason)
            requests = result.run_requests if isinstance(result, SensorResult) else []
            return [str(request.partition_key) for request in requests], context.cursor

        first, cursor = next_tick(None)
        assert first == added[1:3]
        second, cursor = next_tick(cursor)
        assert second == added[3:]
        assert not cursor  # it begins anew
        for token in added:
            run_of(instance, token, DagsterRunStatus.STARTED)
        none, cursor = next_tick(cursor)
        assert (none, bool(cursor)) == ([], True)
        assert next_tick(cursor) == ([], "")
        assert next_tick("edited by hand")[0] == []
