"""Runs that are forked from a warm process: launched, ended, lost; and what becomes of them without their launcher."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance, DagsterRun
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRunStatus as Status

from eurosky_pipeline.orchestration import run_server
from eurosky_pipeline.orchestration.launcher import WarmRunLauncher
from eurosky_pipeline.orchestration.workers import WORKER_TAG, is_gone, worker_of, worker_tag
from eurosky_pipeline.registry.controls import open_controls
from eurosky_pipeline.registry.vault import new_key
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests import launched_jobs

INSTANCE_YAML = """
storage:
  custom: {module: eurosky_pipeline.orchestration.storage, class: InstanceStorage, config: {}}
run_launcher: {module: eurosky_pipeline.orchestration.launcher, class: WarmRunLauncher, config: {}}
telemetry: {enabled: false}
"""
JOBS = ReconstructableRepository.for_file(launched_jobs.__file__, "defs")
PATIENCE_S = 30.0


@contextmanager
def opened(folder: Path, **variables: str) -> Iterator[DagsterInstance]:
    """An instance whose first run has been launched: with it, its warm process."""
    (folder / "dagster").mkdir(parents=True)
    (folder / "dagster" / "dagster.yaml").write_text(INSTANCE_YAML)
    with pytest.MonkeyPatch.context() as environment:
        settings = {"EUROSKY_HOME": str(folder), "DAGSTER_HOME": str(folder / "dagster"), **variables}
        for name, value in settings.items():
            environment.setenv(name, value)
        with DagsterInstance.get() as instance:
            launch(instance, "ends_well")
            yield instance


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    with opened(tmp_path_factory.mktemp("launcher")) as instance:
        yield instance


def launch(instance: DagsterInstance, job: str, **tags: str) -> str:
    recon = JOBS.get_reconstructable_job(job)
    run = instance.create_run_for_job(
        recon.get_definition(), tags=tags, job_code_origin=recon.get_python_origin(), status=Status.NOT_STARTED
    )
    instance.launch_run(run.run_id, None)
    return run.run_id


def wait_until(is_true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def ended(instance: DagsterInstance, run_id: str) -> DagsterRun:
    wait_until(lambda: instance.get_run_by_id(run_id).is_finished)
    return instance.get_run_by_id(run_id)


def at_work(instance: DagsterInstance, run_id: str) -> psutil.Process:
    """Its process, once its step has begun."""
    wait_until(lambda: "STEP_START" in events(instance, run_id))
    return psutil.Process(worker_of(instance.get_run_by_id(run_id).tags).pid)


def events(instance: DagsterInstance, run_id: str) -> list[str]:
    return [entry.dagster_event.event_type_value for entry in instance.all_logs(run_id) if entry.dagster_event]


def messages(instance: DagsterInstance, run_id: str) -> str:
    entries = instance.all_logs(run_id)
    return "\n".join(each.user_message or str(each.dagster_event and each.dagster_event.message) for each in entries)


def server_of(instance: DagsterInstance) -> psutil.Process:
    return psutil.Process(instance.run_launcher._server._process.pid)


def test_a_run_is_a_fork_of_the_one_warm_process_and_says_so(instance: DagsterInstance) -> None:
    server = server_of(instance)
    for _ in range(2):
        run = ended(instance, launch(instance, "ends_well"))
        assert run.status is Status.SUCCESS, messages(instance, run.run_id)
        assert f"in process {worker_of(run.tags).pid} of {server.pid}" in messages(instance, run.run_id)
        wait_until(lambda run=run: is_gone(run.tags))
    assert server_of(instance) == server
    assert server.num_threads() == 1
    wait_until(lambda: server.children() == [])


def test_the_children_have_nothing_of_the_launcher_open(instance: DagsterInstance, tmp_path: Path) -> None:
    """Least of all the lock of `eurosky up`, which tells that its daemon runs."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        run_id = launch(instance, "waits", path=str(tmp_path / "go"))
        process = at_work(instance, run_id)
        names = {
            Path(f"/proc/{each.pid}/fd/{fd.name}").readlink()
            for each in (process, server_of(instance))
            for fd in Path(f"/proc/{each.pid}/fd").iterdir()
            if fd.is_symlink()
        }
    (tmp_path / "go").touch()
    assert ended(instance, run_id).status is Status.SUCCESS
    assert tmp_path / "lock" not in names
    assert not any(name.name == "instance.lock" for name in names)


def test_one_that_is_asked_to_end_is_canceled_and_a_finished_one_cannot_be(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    run_id = launch(instance, "waits", path=str(tmp_path / "never"))
    at_work(instance, run_id)
    other = WarmRunLauncher()  # the webserver's, which has launched nothing
    other.register_instance(instance)
    assert other.terminate(run_id)
    run = ended(instance, run_id)
    assert run.status is Status.CANCELED
    assert not instance.run_launcher.terminate(run_id)
    assert not instance.run_launcher.terminate("no such run")


def test_one_asked_to_end_at_the_moment_of_its_launch_ends(instance: DagsterInstance, tmp_path: Path) -> None:
    run_id = launch(instance, "waits", path=str(tmp_path / "never"))
    assert instance.run_launcher.terminate(run_id)
    assert ended(instance, run_id).status is Status.CANCELED


def test_what_the_service_stops_is_no_persons_wish(instance: DagsterInstance, tmp_path: Path) -> None:
    run_id = launch(instance, "waits", path=str(tmp_path / "never"))
    at_work(instance, run_id).terminate()
    assert ended(instance, run_id).status is Status.FAILURE
    assert "RUN_CANCELING" not in events(instance, run_id)


@pytest.mark.parametrize("is_by_itself", [True, False], ids=["in its step", "from outside"])
def test_a_killed_one_is_failed_at_once_and_says_by_what(
    instance: DagsterInstance, tmp_path: Path, is_by_itself: bool
) -> None:
    if is_by_itself:
        run_id = launch(instance, "dies")
    else:
        run_id = launch(instance, "waits", path=str(tmp_path / "never"))
        at_work(instance, run_id).kill()
    run = ended(instance, run_id)
    assert run.status is Status.FAILURE
    assert f"(pid {worker_of(run.tags).pid}) has ended by signal 9" in messages(instance, run_id)
    assert launch(instance, "ends_well")


def test_a_killed_one_that_was_to_end_anyway_is_canceled(instance: DagsterInstance, tmp_path: Path) -> None:
    run_id = launch(instance, "waits", path=str(tmp_path / "never"))
    process = at_work(instance, run_id)
    process.suspend()  # it does not heed the interruption
    assert instance.run_launcher.terminate(run_id)
    process.kill()
    assert ended(instance, run_id).status is Status.CANCELED


def test_health_is_bad_only_where_the_process_is_certain_to_have_ended(instance: DagsterInstance) -> None:
    run = ended(instance, launch(instance, "ends_well"))
    wait_until(lambda: is_gone(run.tags))
    elsewhere = {WORKER_TAG: json.dumps({**json.loads(run.tags[WORKER_TAG]), "host": "another"})}
    found = {
        name: instance.run_launcher.check_run_worker_health(run.with_tags(tags)).status
        for name, tags in {"ended": run.tags, "here": worker_tag(), "elsewhere": elsewhere, "nobody": {}}.items()
    }
    assert found.pop("ended") is WorkerStatus.NOT_FOUND
    assert set(found.values()) == {WorkerStatus.RUNNING}
    assert instance.run_launcher.supports_check_run_worker_health


def test_runs_go_on_without_the_warm_process_and_the_next_one_has_another(
    instance: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    run_id = launch(instance, "waits", path=str(tmp_path / "go"))
    at_work(instance, run_id)
    server = server_of(instance)
    server.kill()
    server.wait(PATIENCE_S)
    assert ended(instance, launch(instance, "ends_well")).status is Status.SUCCESS
    assert server_of(instance) != server
    (tmp_path / "go").touch()
    assert ended(instance, run_id).status is Status.SUCCESS


def test_without_its_launcher_the_warm_process_ends_and_runs_go_on(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as instance:
        run_id = launch(instance, "waits", path=str(tmp_path / "go"))
        process, server = at_work(instance, run_id), server_of(instance)
        assert process.parent() == server
        instance.run_launcher._server._socket.close()  # as where the launcher is killed
        instance.run_launcher._server._answers.close()
        instance.run_launcher._server._process.wait(PATIENCE_S)
        assert process.is_running()
        (tmp_path / "go").touch()
        assert ended(instance, run_id).status is Status.SUCCESS
        wait_until(lambda: is_gone(instance.get_run_by_id(run_id).tags))


def test_on_postgresql_each_run_has_connections_of_its_own(tmp_path: Path, empty_postgres_url: str) -> None:
    settings = {"EUROSKY_DATABASE_URL": empty_postgres_url, "EUROSKY_VAULT_KEY": new_key()}
    with opened(tmp_path / "home", **settings) as instance:
        runs = [launch(instance, "ends_well"), launch(instance, "dies")]
        assert [ended(instance, run_id).status for run_id in runs] == [Status.SUCCESS, Status.FAILURE]


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        (Status.CANCELED, {}),
        (Status.FAILURE, {}),
        (Status.STARTED, {}),
        (Status.STARTING, {WORKER_TAG: "another's"}),
    ],
    ids=["canceled", "failed", "begun", "another's"],
)
def test_a_run_that_is_over_or_has_a_process_is_no_second_ones(status: Status, tags: dict[str, str]) -> None:
    with DagsterInstance.ephemeral() as instance:
        job = JOBS.get_reconstructable_job("ends_well").get_definition()
        run = instance.create_run_for_job(job, status=status, tags=tags)
        assert run_server._claim(instance, run.run_id) is None
        assert run_server._claim(instance, "no such run") is None
        assert instance.get_run_by_id(run.run_id).tags == run.tags


def test_a_warm_process_that_does_not_come_up_fails_the_launch(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eurosky_pipeline.orchestration.launcher._SERVER", ("-c", "raise SystemExit"))
    launcher = WarmRunLauncher()
    launcher.register_instance(instance)
    run = instance.create_run_for_job(JOBS.get_reconstructable_job("ends_well").get_definition())
    with pytest.raises(DagsterLaunchFailedError, match="does not answer: it has ended"):
        launcher.launch_run(LaunchRunContext(run, None))
    assert launcher._server is None


def test_a_run_that_another_daemons_process_has_claimed_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    job = JOBS.get_reconstructable_job("ends_well").get_definition()
    with DagsterInstance.ephemeral() as instance, closing(open_controls(load_settings())) as controls:
        theirs, ours = (instance.create_run_for_job(job, status=Status.STARTING) for _ in range(2))
        assert controls.claim_run(theirs.run_id, "another's")
        assert run_server._claim(instance, theirs.run_id) is None
        assert WORKER_TAG not in instance.get_run_by_id(theirs.run_id).tags
        assert run_server._claim(instance, ours.run_id).tags.keys() >= {WORKER_TAG}
