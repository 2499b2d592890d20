"""Of runs that were asked for the same attempt, one begins; the others end without having done anything.

No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    ExecuteInProcessResult,
    MaterializeResult,
    RunRequest,
    RunsFilter,
    define_asset_job,
    in_process_executor,
)
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, RUN_KEY_TAG

from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.sensors import new_migrations, stuck_migrations
from eurosky_pipeline.orchestration.steps import migration_step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.dagster.ticks import asked_for, launched


@pytest.fixture
def instance(migration: Migration) -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions(MIGRATIONS.name or "", [migration.token])
        yield opened


def run(
    instance: DagsterInstance, token: str, tags: dict[str, str], work: Callable[[], None], **extra: str
) -> ExecuteInProcessResult:
    """A run of two assets, the second after the first, which does `work`."""

    @migration_asset(kinds=set())
    def first(
        context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource
    ) -> Iterator[MaterializeResult]:
        with migration_step(context, registry, workspace):
            work()
            yield MaterializeResult()

    @migration_asset(kinds=set(), deps=[first])
    def second(
        context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource
    ) -> Iterator[MaterializeResult]:
        with migration_step(context, registry, workspace):
            yield MaterializeResult()

    definitions = Definitions(
        assets=[first, second],
        jobs=[define_asset_job("probe_job", executor_def=in_process_executor)],
        resources={"registry": RegistryResource(), "workspace": WorkspaceResource()},
    )
    return definitions.resolve_job_def("probe_job").execute_in_process(
        instance=instance, partition_key=token, tags={**tags, **extra}, raise_on_error=False
    )


def materialized(result: ExecuteInProcessResult) -> list[str]:
    events = [event for event in result.all_events if event.is_step_materialization]
    return [event.materialization.asset_key.to_user_string() for event in events]


def test_a_second_run_of_the_same_attempt_ends_quietly_beside_the_first_and_after_it(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    (request,) = asked_for(new_migrations, instance)
    token, tags, work = migration.token, dict(request.tags), list[str]()
    beside: list[ExecuteInProcessResult] = []
    result = run(
        instance,
        token,
        tags,
        lambda: beside.append(run(instance, token, tags, lambda: work.append("beside"))),
    )
    after = run(instance, token, tags, lambda: work.append("after"))
    assert (result.success, materialized(result)) == (True, ["first", "second"])
    for late in (*beside, after):
        assert (late.success, materialized(late), work) == (True, [], [])
        told = [entry.user_message for entry in instance.all_logs(late.run_id) if entry.level == 30]
        assert any("nothing to do for this run" in text for text in told)
    row = registry.get(token)
    assert (row.attempts, row.error_code) == (1, None)
    assert [attempt.holder for attempt in registry.attempts_of(token)] == [result.run_id]


def test_a_run_that_a_person_makes_of_it_is_an_attempt_of_its_own(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    (request,) = asked_for(new_migrations, instance)
    first = run(instance, migration.token, dict(request.tags), lambda: None)
    again = launched(instance, request, DagsterRunStatus.FAILURE)
    assert materialized(first) == ["first", "second"]
    result = run(instance, migration.token, dict(request.tags), lambda: None, **{PARENT_RUN_ID_TAG: again.run_id})
    assert materialized(result) == ["first", "second"]
    assert registry.get(migration.token).attempts == 2


def test_a_run_that_lost_its_hold_ends_and_leaves_the_migration_to_the_one_after_it(
    instance: DagsterInstance, registry: Registry, migration: Migration
) -> None:
    """A machine that slept, or a database that was away: the lease is over, another run has begun, and this one comes
    back between two steps."""
    (request,) = asked_for(new_migrations, instance)
    token, others = migration.token, list[ExecuteInProcessResult]()

    def sleep_for_long() -> None:
        holder = registry.get(token).lease_holder or ""
        registry.acquire_lease(token, holder, -400)
        (second,) = asked_for(stuck_migrations, instance)
        assert second.tags["eurosky/attempt"] == "2"
        others.append(run(instance, token, dict(second.tags), lambda: None))

    result = run(instance, token, dict(request.tags), sleep_for_long)
    assert (others[0].success, materialized(others[0])) == (True, ["first", "second"])
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["error_code"].value in {"lease_held", "attempt_begun", "attempt_over"}
    codes = [(attempt.holder, attempt.error_code) for attempt in registry.attempts_of(token)]
    assert codes == [(result.run_id, "run_lost"), (others[0].run_id, None)]
    assert registry.get(token).error_code is None


def test_two_daemons_that_tick_at_once_can_both_create_a_run_and_one_attempt_is_made(
    migration: Migration, registry: Registry
) -> None:
    """Dagster looks a key up, and then creates the run: between the two there is room for another daemon."""
    prepare_instance(load_settings())
    both_have_looked = threading.Barrier(2, timeout=60)

    def daemon(_: int) -> RunRequest:
        with open_instance() as own:
            (request,) = asked_for(new_migrations, own)
            assert own.get_runs(RunsFilter(tags={RUN_KEY_TAG: str(request.run_key)})) == []
            both_have_looked.wait()
            launched(own, request)
            return request

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(daemon, range(2))
    assert (one.run_key, one.tags) == (other.run_key, other.tags)
    with open_instance() as instance:
        runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: str(one.run_key)}))
        assert len(runs) == 2
        instance.add_dynamic_partitions(MIGRATIONS.name or "", [migration.token])
        results = [run(instance, migration.token, dict(each.tags), lambda: None) for each in runs]
        assert [len(materialized(result)) for result in results] == [2, 0]
        assert asked_for(new_migrations, instance) == []
    assert registry.get(migration.token).attempts == 1
