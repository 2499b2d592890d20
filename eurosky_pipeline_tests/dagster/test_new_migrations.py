"""The sensor `new_migrations`: one run for each wish to be started, however often it ticks."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason

from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.orchestration.sensors import new_migrations, starts
from eurosky_pipeline.orchestration.sensors.new_migrations import WANTED_AT_TAG
from eurosky_pipeline.orchestration.steps import ATTEMPT_TAG
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline_tests.dagster.ticks import asked_for, launched, run_of, said, tick


def added(registry: Registry, letters: str) -> list[str]:
    return [
        registry.add(NewMigration(f"did:plc:{letter * 24}", "https://old.example", "https://new.example"), {}).token
        for letter in letters
    ]


def test_a_new_migration_gets_its_partition_and_one_run_for_its_first_attempt(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        result, _ = tick(new_migrations, instance)
        assert isinstance(result, SensorResult)
        assert [request.partition_keys for request in result.dynamic_partitions_requests or []] == [[migration.token]]
        (request,) = result.run_requests or []
        assert migration.start_wanted_at is not None
        wanted_at = migration.start_wanted_at.isoformat()
        assert (request.partition_key, request.run_key) == (migration.token, f"{migration.token}/{wanted_at}/0")
        assert request.tags["eurosky/destination_pds"] == migration.destination_pds
        assert (request.tags[WANTED_AT_TAG], request.tags[ATTEMPT_TAG]) == (wanted_at, "1")


def test_what_a_sensor_asks_for_does_not_tell_whose_account_it_is(migration: Migration) -> None:
    """Dagster keeps it with the tick, where no purge of the run reaches."""
    with DagsterInstance.ephemeral() as instance:
        result, _ = tick(new_migrations, instance)
        assert isinstance(result, SensorResult)
        assert migration.did not in str(result)
        assert migration.handle is not None
        assert migration.handle not in str(result)


def test_however_often_it_ticks_the_key_is_one_and_once_a_run_waits_it_asks_for_none(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        (first,), (second,) = asked_for(new_migrations, instance), asked_for(new_migrations, instance)
        assert first.run_key == second.run_key
        launched(instance, first)
        assert asked_for(new_migrations, instance) == []
        assert "1 have a run under way" in said(new_migrations, instance)


def test_one_whose_run_has_begun_is_not_asked_for_again(migration: Migration, registry: Registry) -> None:
    registry.acquire_lease(migration.token, "a-run", 60)
    with DagsterInstance.ephemeral() as instance:
        assert asked_for(new_migrations, instance) == []
        registry.release_leases("a-run")
        assert asked_for(new_migrations, instance) == []


def test_what_is_brought_back_is_asked_for_again_as_its_next_attempt(migration: Migration, registry: Registry) -> None:
    registry.acquire_lease(migration.token, "a-run", 60)
    registry.fail(migration.token, PermanentError("no"), holder="a-run")
    registry.release_leases("a-run")
    with DagsterInstance.ephemeral() as instance:
        assert asked_for(new_migrations, instance) == []
        wanted_at = registry.retry(migration.token).start_wanted_at
        assert wanted_at is not None
        (request,) = asked_for(new_migrations, instance)
        assert request.run_key == f"{migration.token}/{wanted_at.isoformat()}/0"
        assert request.tags[ATTEMPT_TAG] == "2"


def test_one_whose_run_ended_before_its_first_step_is_started_anew_but_not_for_ever(migration: Migration) -> None:
    with DagsterInstance.ephemeral() as instance:
        for ended in range(starts.MAX_STARTS_IN_VAIN):
            (request,) = asked_for(new_migrations, instance)
            assert (request.run_key or "").endswith(f"/{ended}")
            launched(instance, request, DagsterRunStatus.FAILURE)
        assert "1 were started in vain" in said(new_migrations, instance)


def test_one_whose_run_a_person_has_stopped_is_left_alone_until_it_is_brought_back(
    migration: Migration, registry: Registry
) -> None:
    with DagsterInstance.ephemeral() as instance:
        (request,) = asked_for(new_migrations, instance)
        launched(instance, request, DagsterRunStatus.CANCELED)
        assert asked_for(new_migrations, instance) == []
        assert registry.get(migration.token).start_wanted_at is None
        registry.retry(migration.token)
        assert len(asked_for(new_migrations, instance)) == 1


def test_no_tick_asks_for_more_than_its_share_and_the_next_goes_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_STARTS_PER_TICK", 2)
    tokens = added(registry, "abcde")
    with DagsterInstance.ephemeral() as instance:
        run_of(instance, tokens[0], DagsterRunStatus.STARTED)
        cursor, seen = None, list[str]()
        for _ in range(4):
            result, cursor = tick(new_migrations, instance, cursor)
            requests = list(result.run_requests or []) if isinstance(result, SensorResult) else []
            assert len(requests) <= 2
            for request in requests:
                launched(instance, request)
                seen.append(str(request.partition_key))
        assert sorted(seen) == sorted(tokens[1:])
        assert len(tick(new_migrations, instance, "edited by hand")) == 2


def test_where_so_many_runs_are_queued_no_more_are_asked_for(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_QUEUED", 3)
    added(registry, "abcde")
    with DagsterInstance.ephemeral() as instance:
        requests = asked_for(new_migrations, instance)
        assert len(requests) == 3
        for request in requests:
            launched(instance, request)
        assert asked_for(new_migrations, instance) == []


def test_while_paused_nothing_is_started_and_the_tick_says_so(migration: Migration, registry: Registry) -> None:
    registry.pause("the disk is being enlarged")
    with DagsterInstance.ephemeral() as instance:
        assert "the disk is being enlarged" in said(new_migrations, instance)
        registry.end_pause()
        assert len(asked_for(new_migrations, instance)) == 1


def test_where_there_is_nothing_the_tick_says_so() -> None:
    with DagsterInstance.ephemeral() as instance:
        result, _ = tick(new_migrations, instance)
        assert isinstance(result, SkipReason)
        assert result.skip_message == "no migration to start"
