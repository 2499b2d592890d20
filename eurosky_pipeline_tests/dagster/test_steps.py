"""What every asset does around its work, with assets made for the purpose.

No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    asset,
    define_asset_job,
    in_process_executor,
)

from eurosky_pipeline.errors import EuroskyError, FatalError, PermanentError, SettingsError, StoppedError
from eurosky_pipeline.orchestration.partitions import MIGRATIONS
from eurosky_pipeline.orchestration.resources import RegistryResource, WorkspaceResource
from eurosky_pipeline.orchestration.steps import Step, migration_step
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import VaultError
from eurosky_pipeline_tests.dagster.conftest import PASSWORD


def run_step(token: str, work: Callable[[Step], None], *, is_preparing: bool = False):
    """One run whose only asset does `work`: (the run, the failure's text or "", its event log)."""

    @asset(partitions_def=MIGRATIONS)
    def probe(context: AssetExecutionContext, registry: RegistryResource, workspace: WorkspaceResource) -> None:
        with migration_step(context, registry, workspace, is_preparing=is_preparing) as step:
            work(step)

    definitions = Definitions(
        assets=[probe],
        jobs=[define_asset_job("probe_job", executor_def=in_process_executor)],
        resources={"registry": RegistryResource(), "workspace": WorkspaceResource()},
    )
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(MIGRATIONS.name, [token])
        result = definitions.resolve_job_def("probe_job").execute_in_process(
            instance=instance, partition_key=token, raise_on_error=False
        )
        run = instance.get_run_by_id(result.run_id)
        log = "".join(str(entry.to_json()) for entry in instance.all_logs(result.run_id))
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    text = failures[0].user_failure_data.description if failures and failures[0].user_failure_data else ""
    return run, text, log


def test_a_run_carries_the_migrations_tags_and_lets_go_of_it(migration: Migration, registry: Registry) -> None:
    held: list[str | None] = []
    run, _, _ = run_step(migration.token, lambda step: held.append(registry.get(step.token).lease_holder))
    assert run.status is DagsterRunStatus.SUCCESS
    assert held == [run.run_id]
    assert registry.get(migration.token).lease_expires_at is None
    assert run.tags["eurosky/did"] == migration.did
    assert run.tags["eurosky/handle"] == "alice.example"
    assert run.tags["eurosky/source_pds"] == "https://old.example"
    assert run.tags["eurosky/destination_pds"] == "https://new.example"
    assert run.tags["eurosky/lane"] == "bulk"


def test_an_error_on_purpose_is_recorded_with_code_text_and_hint(migration: Migration, registry: Registry) -> None:
    def work(_: Step) -> None:
        raise PermanentError("the host said no", code="said_no", hint="ask again nicely")

    run, text, _ = run_step(migration.token, work)
    assert run.status is DagsterRunStatus.FAILURE
    assert text == f"[{migration.token}] the host said no → ask again nicely"
    after = registry.get(migration.token)
    assert (after.state, after.error_code, after.stopped_in) == (State.FAILED, "said_no", State.PENDING_REPO)
    assert after.error_text == "the host said no → ask again nicely"
    assert after.lease_expires_at is None


def test_an_unexpected_error_is_recorded_without_its_text(migration: Migration, registry: Registry) -> None:
    def work(_: Step) -> None:
        raise ValueError(PASSWORD)

    run, _, _ = run_step(migration.token, work)
    after = registry.get(migration.token)
    assert after.state is State.FAILED
    assert after.error_code == "internal"
    assert "ValueError in probe" in after.error_text
    assert PASSWORD not in after.error_text
    assert run.run_id in after.error_text


@pytest.mark.parametrize(
    ("error", "is_preparing", "expected"),
    [
        (SettingsError("no password is stored", code="credentials_missing"), False, State.PENDING_PREFS),
        (VaultError("another key", code="vault_key_wrong"), False, State.PENDING_PREFS),
        (FatalError("a file is not there", code="input_missing"), False, State.PENDING_PREFS),
        (FatalError("it is active there", code="destination_active"), False, State.PENDING_PREFS),
        (FatalError("deactivated at the source", code="repo_deactivated"), True, State.PENDING_PREFS),
        (FatalError("it does not stand there any more", code="destination_changed"), False, State.FAILED),
    ],
    ids=["no password", "another key", "no file", "in use there", "the source is gone", "a finding"],
)
def test_a_finished_migration_stays_so_unless_something_is_found_out_about_it(
    migration: Migration, registry: Registry, error: EuroskyError, is_preparing: bool, expected: State
) -> None:
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(migration.token, State.PENDING_BLOBS, State.PENDING_PREFS)

    def fail(_: Step) -> None:
        raise error

    run, text, _ = run_step(migration.token, fail, is_preparing=is_preparing)
    assert run.status is DagsterRunStatus.FAILURE
    assert error.message in text
    assert registry.get(migration.token).state is expected


def test_one_that_is_not_finished_is_failed_by_what_finds_nothing_out(migration: Migration, registry: Registry) -> None:
    def fail(_: Step) -> None:
        raise FatalError("deactivated at the source", code="repo_deactivated")

    run_step(migration.token, fail, is_preparing=True)
    assert (registry.get(migration.token).state, registry.get(migration.token).error_code) == (
        State.FAILED,
        "repo_deactivated",
    )


def test_a_failed_migration_is_taken_up_again(migration: Migration, registry: Registry) -> None:
    registry.transition(migration.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.fail(migration.token, PermanentError("once"))
    seen: list[State] = []
    run_step(migration.token, lambda step: seen.append(step.migration.state))
    assert seen == [State.PENDING_BLOBS]
    assert registry.get(migration.token).error_code is None


@pytest.mark.parametrize("error", [DagsterExecutionInterruptedError(), StoppedError("asked to stop")], ids=["", "own"])
def test_a_termination_changes_no_state_and_frees_the_migration(
    migration: Migration, registry: Registry, error: BaseException
) -> None:
    def work(step: Step) -> None:
        (at_work,) = registry.attempts_of(step.token)
        assert at_work.ended_at is None
        raise error

    run, _, _ = run_step(migration.token, work)
    (attempt,) = registry.attempts_of(migration.token)
    assert (attempt.error_code, attempt.ended_in) == ("stopped", State.PENDING_REPO)
    assert attempt.error_text == "its run was stopped before its end"
    assert run.status is DagsterRunStatus.FAILURE
    after = registry.get(migration.token)
    assert (after.state, after.error_code, after.lease_expires_at) == (State.PENDING_REPO, None, None)


def test_a_partition_that_is_no_token_reaches_no_path(registry: Registry, home: Path) -> None:
    run, text, _ = run_step("../../escaped", lambda _: None)
    assert run.status is DagsterRunStatus.FAILURE
    assert "there is no migration" in text
    assert not (home / "work").exists()


def test_no_password_reaches_the_event_log(migration: Migration, registry: Registry) -> None:
    def work(step: Step) -> None:
        from eurosky_pipeline.registry.vault import Side

        password = step.registry.password(step.token, Side.DESTINATION)
        raise PermanentError(f"refused {password}")

    _, text, log = run_step(migration.token, work)
    assert "refused" in text
    assert PASSWORD not in log


def test_a_cancelled_migration_is_not_brought_back_by_a_run(migration: Migration, registry: Registry) -> None:
    registry.request_cancel(migration.token)
    worked: list[str] = []
    run, text, _ = run_step(migration.token, lambda step: worked.append(step.token))
    assert run.status is DagsterRunStatus.FAILURE
    assert "is cancelled" in text
    assert worked == []
    assert registry.get(migration.token).state is State.CANCELLED
