"""The sensor `resume_waiting`: one run for each wait that is over."""

from __future__ import annotations

from datetime import datetime

import pytest
from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.orchestration.sensors import resume_waiting, starts
from eurosky_pipeline.orchestration.sensors.resume_waiting import RESUME_AT_TAG
from eurosky_pipeline.orchestration.steps import ATTEMPT_TAG
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.dagster.ticks import ago, launched, run_of, said, tick


def put_off(registry: Registry, token: str, until: datetime) -> None:
    assert registry.wait(token, until, RateLimited("new.example allows no more for 3600 s"))


def resume_tick(instance: DagsterInstance) -> SensorResult | SkipReason:
    return tick(resume_waiting, instance)[0]


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
        assert (request.tags[RESUME_AT_TAG], request.tags[ATTEMPT_TAG]) == (resume_at, "1")
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
        for ended in range(starts.MAX_STARTS_IN_VAIN):
            (request,) = resume_tick(instance).run_requests
            assert request.run_key.endswith(f"/{ended}")
            launched(instance, request, DagsterRunStatus.FAILURE)
        assert isinstance(resume_tick(instance), SkipReason)


def test_each_further_wait_gets_a_run_of_its_own(migration: Migration, registry: Registry) -> None:
    keys = set()
    with DagsterInstance.ephemeral() as instance:
        for number in range(starts.MAX_STARTS_IN_VAIN + 2):
            put_off(registry, migration.token, ago(100 - number))
            (request,) = resume_tick(instance).run_requests
            keys.add(request.run_key)
            launched(instance, request, DagsterRunStatus.SUCCESS)
            registry.resume(migration.token)
    assert len(keys) == starts.MAX_STARTS_IN_VAIN + 2


def test_what_is_cancelled_while_it_waits_stays_so(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    registry.request_cancel(migration.token)
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


def test_a_wait_whose_run_a_person_has_stopped_is_not_ended_by_itself(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    with DagsterInstance.ephemeral() as instance:
        (request,) = resume_tick(instance).run_requests
        launched(instance, request, DagsterRunStatus.CANCELED)
        assert isinstance(resume_tick(instance), SkipReason)


def test_while_paused_nothing_is_resumed_and_the_tick_says_so(migration: Migration, registry: Registry) -> None:
    put_off(registry, migration.token, ago(1))
    registry.pause("the destination is being moved")
    with DagsterInstance.ephemeral() as instance:
        assert "the destination is being moved" in said(resume_waiting, instance)
        registry.end_pause()
        assert isinstance(resume_tick(instance), SensorResult)
