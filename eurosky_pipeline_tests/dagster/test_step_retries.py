"""What becomes of a step that fails for a while: tried again in its run, or put off to another; with made-up assets.

No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    MaterializeResult,
    ResourceParam,
    define_asset_job,
    in_process_executor,
)
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from eurosky_pipeline.errors import FatalError, TransientError
from eurosky_pipeline.orchestration.migration_asset import migration_asset
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.transfer.progress import ProgressSink, SilentProgress
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited
from eurosky_pipeline_tests.dagster.conftest import PASSWORD

HOUR_S = 3600.0


class Notes(SilentProgress):
    """What a person in the foreground is told beside the bars."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def note(self, stage: str, text: str) -> None:
        self.told.append((stage, text))


@dataclass(frozen=True)
class Ran:
    """One run of `first`, of `second`, which does not depend on it, and of `after`, which does."""

    run: DagsterRun
    lines: list[str]
    log: str
    failure: str
    materialized: set[str]
    skipped: set[str]
    is_check_evaluated: bool
    told: list[tuple[str, str]]


def do_nothing(_: Step) -> None:
    """The work of an asset that does not matter."""


def assets_of(first: Callable[[Step], None], second: Callable[[Step], None]) -> list[Any]:
    def made(name: str, work: Callable[[Step], None], **options: Any) -> Any:
        def body(
            context: AssetExecutionContext,
            registry: RegistryResource,
            workspace: WorkspaceResource,
            progress: ResourceParam[ProgressSink],
        ) -> Iterator[MaterializeResult]:
            with migration_step(context, registry, workspace) as step:
                work(step)
                checks = [AssetCheckResult(passed=True, check_name="is_good")] if name == "first" else []
                yield MaterializeResult(check_results=checks)

        body.__name__ = name
        return migration_asset(kinds=set(), **options)(body)

    one = made("first", first, check_specs=[AssetCheckSpec("is_good", asset="first")])
    return [one, made("second", second), made("after", do_nothing, deps=[one])]


def run_assets(token: str, first: Callable[[Step], None], second: Callable[[Step], None] = do_nothing) -> Ran:
    notes = Notes()
    definitions = Definitions(
        assets=assets_of(first, second),
        jobs=[define_asset_job("probe_job", executor_def=in_process_executor)],
        resources={"registry": RegistryResource(), "workspace": WorkspaceResource(), "progress": notes},
    )
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name, [token])
        job = definitions.resolve_job_def("probe_job")
        result = job.execute_in_process(instance=instance, partition_key=token, raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
        entries = instance.all_logs(result.run_id)
    events = result.all_events
    failures = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
    return Ran(
        run,
        [entry.user_message for entry in entries if not entry.is_dagster_event],
        "".join(str(entry.to_json()) for entry in entries),
        failures[0].description if failures and failures[0] else "",
        {event.step_key for event in events if event.is_step_materialization},
        {event.step_key for event in events if event.is_step_skipped},
        any(event.event_type_value == "ASSET_CHECK_EVALUATION" for event in events),
        notes.told,
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait between the attempts."""
    monkeypatch.setenv("EUROSKY_MAX_WAIT_S", "0")


def failing(times: int, error: Exception) -> tuple[Callable[[Step], None], list[Migration]]:
    """Work that fails so many times, and the migration's row as each attempt found it."""
    seen: list[Migration] = []

    def work(step: Step) -> None:
        seen.append(step.registry.get(step.token))
        if len(seen) <= times:
            raise error

    return work, seen


def limited(step: Step) -> None:
    raise RateLimited(f"new.example allows no more of {step.token}", hint="later", retry_after_s=HOUR_S)


@pytest.mark.usefixtures("at_once")
def test_a_step_that_fails_for_a_while_is_tried_again_in_the_same_run(migration: Migration, registry: Registry) -> None:
    work, seen = failing(2, HostUnreachable("old.example could not be reached"))
    ran = run_assets(migration.token, work)
    assert ran.run.status is DagsterRunStatus.SUCCESS
    assert [(row.state, row.lease_holder, row.attempts) for row in seen] == [
        (State.PENDING_REPO, ran.run.run_id, 1),
    ] * 3
    assert ran.lines == [
        f"[{migration.token}] first: old.example could not be reached [host_unreachable]; attempt {n} of 3 in 0 s"
        for n in (2, 3)
    ]
    assert ran.told == [("first", line.partition("first: ")[2]) for line in ran.lines]
    assert ran.materialized == {"first", "second", "after"}
    assert ran.is_check_evaluated
    after = registry.get(migration.token)
    assert (after.state, after.error_code, after.lease_expires_at) == (State.PENDING_REPO, None, None)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("kind", "attempts"), [(HostUnreachable, 3), (RateLimited, 5)])
def test_after_the_last_attempt_the_migration_has_failed(
    migration: Migration, registry: Registry, kind: type[TransientError], attempts: int
) -> None:
    work, seen = failing(99, kind("the host is not well", hint="look at it"))
    ran = run_assets(migration.token, work)
    assert ran.run.status is DagsterRunStatus.FAILURE
    assert len(seen) == attempts
    assert ran.failure == f"[{migration.token}] the host is not well → look at it"
    after = registry.get(migration.token)
    assert (after.state, after.error_code) == (State.FAILED, kind.default_code)
    assert after.error_text == "the host is not well → look at it"


@pytest.mark.usefixtures("at_once")
def test_what_can_never_work_is_not_tried_again(migration: Migration) -> None:
    work, seen = failing(1, FatalError("no", code="auth", hint="x"))
    assert run_assets(migration.token, work).run.status is DagsterRunStatus.FAILURE
    assert len(seen) == 1


def test_where_the_run_allows_no_retries_the_first_failure_is_recorded(
    migration: Migration, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InProcessExecutor, "retries", RetryMode.DISABLED)
    work, seen = failing(99, HostUnreachable("gone"))
    ran = run_assets(migration.token, work)
    assert len(seen) == 1
    assert ran.failure == f"[{migration.token}] gone"
    assert registry.get(migration.token).state is State.FAILED


def test_a_limit_that_lasts_too_long_puts_the_migration_off_and_is_no_failure(
    migration: Migration, registry: Registry
) -> None:
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    before = datetime.now(UTC)
    ran = run_assets(migration.token, limited)
    assert ran.run.status is DagsterRunStatus.SUCCESS
    assert (ran.materialized, ran.skipped, ran.is_check_evaluated) == (set(), {"after"}, False)
    after = registry.get(migration.token)
    assert (after.state, after.stopped_in) == (State.WAITING, State.PENDING_BLOBS)
    assert (after.error_code, after.error_text) == ("rate_limited", f"new.example allows no more of {migration.token}")
    assert after.resume_at is not None
    assert timedelta(seconds=HOUR_S) <= after.resume_at - before <= timedelta(seconds=HOUR_S + 61)
    assert after.lease_expires_at is None
    line = ran.lines[0]
    assert line.startswith(f"[{migration.token}] first: new.example allows no more")
    assert f"waits until {after.resume_at:%Y-%m-%d %H:%M:%S} UTC" in line


def test_while_it_waits_no_other_step_of_the_run_works_on_it(migration: Migration, registry: Registry) -> None:
    worked: list[str] = []
    ran = run_assets(migration.token, limited, lambda step: worked.append(step.token))
    assert ran.run.status is DagsterRunStatus.SUCCESS
    assert (worked, ran.materialized) == ([], set())
    assert registry.get(migration.token).state is State.WAITING


def test_what_a_run_has_done_before_it_waits_stays_done(migration: Migration, registry: Registry) -> None:
    ran = run_assets(migration.token, do_nothing, limited)
    assert ran.run.status is DagsterRunStatus.SUCCESS
    assert (ran.materialized, ran.skipped) == ({"first"}, set())
    assert registry.get(migration.token).state is State.WAITING


def test_the_next_run_takes_up_what_waits_before_its_time_too(migration: Migration, registry: Registry) -> None:
    run_assets(migration.token, limited)
    work, seen = failing(0, ValueError())
    assert run_assets(migration.token, work).run.status is DagsterRunStatus.SUCCESS
    (row,) = seen
    assert (row.state, row.resume_at, row.error_code, row.attempts) == (State.PENDING_REPO, None, None, 2)


def test_a_run_that_has_lost_its_lease_puts_nothing_off(migration: Migration, registry: Registry) -> None:
    def work(step: Step) -> None:
        registry.release_leases(str(registry.get(step.token).lease_holder))
        registry.acquire_lease(step.token, "another-run", 60)
        limited(step)

    assert run_assets(migration.token, work).run.status is DagsterRunStatus.FAILURE
    after = registry.get(migration.token)
    assert (after.state, after.resume_at, after.lease_holder) == (State.PENDING_REPO, None, "another-run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_person_who_stops_the_run_while_it_waits_to_try_again_does_not_wait(
    migration: Migration, registry: Registry, number: signal.Signals
) -> None:
    def work(step: Step) -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        raise RateLimited("patience", retry_after_s=100)

    started_s = time.monotonic()
    ran = run_assets(migration.token, work)
    assert time.monotonic() - started_s < 60
    assert ran.run.status is DagsterRunStatus.FAILURE
    assert "DagsterExecutionInterruptedError" in ran.log
    after = registry.get(migration.token)
    assert (after.state, after.error_code, after.lease_expires_at) == (State.PENDING_REPO, None, None)


def test_work_that_is_asked_to_stop_is_not_tried_again(migration: Migration, registry: Registry) -> None:
    def work(step: Step) -> None:
        step.stop.set()
        raise RateLimited("patience", retry_after_s=100)

    ran = run_assets(migration.token, work)
    assert "asked to stop" in ran.failure
    assert registry.get(migration.token).state is State.PENDING_REPO


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("retry_after_s", [None, HOUR_S])
def test_no_secret_that_led_to_the_error_reaches_the_event_log(
    migration: Migration, registry: Registry, retry_after_s: float | None
) -> None:
    def work(_: Step) -> None:
        try:
            raise ValueError(PASSWORD)
        except ValueError as error:
            raise RateLimited("the host is not well", retry_after_s=retry_after_s) from error

    ran = run_assets(migration.token, work)
    assert "the host is not well" in ran.log
    assert PASSWORD not in ran.log
