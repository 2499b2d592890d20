"""`eurosky migrate` beside a daemon: what waits in its queue is run here, what it works on is left to it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._core.test_utils import create_run_for_test

from eurosky_pipeline.cli.migrate import migrate
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

NO_HOST = "https://source.invalid"
"""Nobody answers there: a run of such a migration fails at its first step, and at once, where nothing is waited for."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_MAX_WAIT_S", "0")


def test_one_that_waits_in_the_queue_is_taken_out_of_it_and_run_here(migration: Migration, registry: Registry) -> None:
    prepare_instance(load_settings())
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("eurosky_pipeline"), "__repository__")
    with open_instance() as instance:
        queued = create_run_for_test(
            instance,
            "migrate_account",
            tags={PARTITION_NAME_TAG: migration.token},
            status=DagsterRunStatus.QUEUED,
            remote_job_origin=RemoteJobOrigin(repository, "migrate_account"),
        )
    done = CliRunner().invoke(migrate, [migration.token, "--json"])
    (outcome,) = json.loads(done.stdout)
    assert f"run {queued.run_id} was waiting in the queue" in done.stderr
    with open_instance() as instance:
        assert instance.get_run_by_id(queued.run_id).status is DagsterRunStatus.CANCELED
        (run,) = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
    assert run.run_id == outcome["run_id"]
    (attempt,) = registry.attempts_of(migration.token)
    assert attempt.holder == run.run_id


def test_one_that_a_run_works_on_is_left_to_it_and_the_next_one_is_begun(
    migration: Migration, registry: Registry
) -> None:
    other = registry.add(NewMigration("did:web:b.example", NO_HOST, "https://new.example"), {}).token
    registry.acquire_lease(migration.token, "the-run-at-work", 90)
    done = CliRunner().invoke(migrate, [migration.token, other, "--json"])
    held, begun = json.loads(done.stdout)
    assert (done.exit_code, held["error_code"], held["run_id"]) == (1, "lease_held", "")
    assert "the-run-at-work" in held["error"]
    assert f"eurosky migrations show {migration.token}" in held["error"]
    assert "Traceback" not in done.stderr
    assert begun["run_id"]
    with open_instance() as instance:
        assert instance.get_runs_count(RunsFilter(tags={PARTITION_NAME_TAG: migration.token})) == 0
    assert registry.get(migration.token).lease_holder == "the-run-at-work"


def test_all_failed_is_one_run_of_the_whole_chain_for_each_of_them_and_for_no_other(registry: Registry) -> None:
    def add(name: str) -> str:
        return registry.add(NewMigration(f"did:web:{name}.example", NO_HOST, "https://new.example"), {}).token

    outdated, failed, pending = add("a"), [add("d"), add("b")], add("c")
    assert registry.fail(outdated, FatalError("no", code="wrong_password"))
    failed.append(add("a"))
    for token in failed:
        assert registry.fail(token, FatalError("the source is away", code="unreachable"))
    done = CliRunner().invoke(migrate, ["--all-failed", failed[1], "--json"])
    assert [outcome["token"] for outcome in json.loads(done.stdout)] == failed
    with open_instance() as instance:
        runs = instance.get_runs()
        plans = [instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id) for run in runs]
    assert sorted(run.tags[PARTITION_NAME_TAG] for run in runs) == sorted(failed)
    assert {run.job_name for run in runs} == {"migrate_account"}
    assert {len(plan.step_keys_to_execute) for plan in plans} == {6}
    assert registry.get(pending).state is State.PENDING_REPO
