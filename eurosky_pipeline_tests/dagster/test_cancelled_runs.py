"""A run whose migration is given up: it stops, ends as cancelled, or is never begun.

No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
"""

import time
from collections.abc import Iterator

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.errors import PermanentError, StoppedError
from eurosky_pipeline.orchestration.run_queue import take_out_of_queue
from eurosky_pipeline.orchestration.steps import Step
from eurosky_pipeline.registry.lease import CANCEL_POLL_S
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline_tests.dagster.test_steps import run_step


def test_a_step_at_work_is_asked_to_stop_and_its_migration_is_cancelled(
    migration: Migration, registry: Registry
) -> None:
    asked_s: list[float] = []

    def work(step: Step) -> None:
        registry.request_cancel(step.token)
        asked_s.append(time.monotonic())
        assert step.stop.wait(60), "nobody said that it is to end"
        asked_s.append(time.monotonic())
        raise StoppedError("asked to stop")

    run, text, _ = run_step(migration.token, work)
    assert asked_s[1] - asked_s[0] < CANCEL_POLL_S + 30
    assert run.status is DagsterRunStatus.FAILURE
    assert text.startswith(f"[{migration.token}] {migration.token} is cancelled → ")
    after = registry.get(migration.token)
    assert (after.state, after.stopped_in, after.error_code) == (State.CANCELLED, State.PENDING_REPO, None)
    assert (after.cancel_requested_at, after.lease_expires_at) == (None, None)
    assert registry.password(migration.token, Side.DESTINATION) is None


def test_a_step_that_would_write_a_new_state_is_refused_and_leaves_no_failure(
    migration: Migration, registry: Registry
) -> None:
    def work(step: Step) -> None:
        registry.request_cancel(step.token)
        step.registry.transition(step.token, State.PENDING_REPO, State.PENDING_BLOBS)

    _, text, _ = run_step(migration.token, work)
    assert "is cancelled" in text
    after = registry.get(migration.token)
    assert (after.state, after.stopped_in, after.error_code) == (State.CANCELLED, State.PENDING_REPO, None)


def test_a_step_that_fails_before_it_notices_ends_as_cancelled_too(migration: Migration, registry: Registry) -> None:
    def work(step: Step) -> None:
        registry.request_cancel(step.token)
        raise PermanentError("the host said no", code="said_no")

    run_step(migration.token, work)
    after = registry.get(migration.token)
    assert (after.state, after.stopped_in, after.error_code) == (State.CANCELLED, State.PENDING_REPO, "said_no")


def test_a_run_that_begins_after_the_wish_of_a_dead_ones_does_no_work(migration: Migration, registry: Registry) -> None:
    registry.acquire_lease(migration.token, "a-dead-run", 60)
    registry.request_cancel(migration.token)
    registry.acquire_lease(migration.token, "a-dead-run", -1)
    worked: list[str] = []
    _, text, _ = run_step(migration.token, lambda step: worked.append(step.token))
    assert "is cancelled" in text
    assert worked == []
    assert registry.get(migration.token).state is State.CANCELLED


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


def test_runs_that_wait_for_their_turn_are_taken_out_of_the_queue_and_no_others(instance: DagsterInstance) -> None:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("eurosky_pipeline"), "__repository__")
    origin = RemoteJobOrigin(repository, "migrate_account")

    def run(token: str, status: DagsterRunStatus) -> str:
        tags = {"dagster/partition": token}
        return create_run_for_test(
            instance, "migrate_account", status=status, tags=tags, remote_job_origin=origin
        ).run_id

    waiting = {run("EURO-A", DagsterRunStatus.NOT_STARTED), run("EURO-A", DagsterRunStatus.QUEUED)}
    others = [run("EURO-A", DagsterRunStatus.STARTED), run("EURO-B", DagsterRunStatus.QUEUED)]
    assert set(take_out_of_queue(instance, "EURO-A")) == waiting
    assert {instance.get_run_by_id(each).status for each in waiting} == {DagsterRunStatus.CANCELED}
    assert [instance.get_run_by_id(each).status for each in others] == [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.QUEUED,
    ]
