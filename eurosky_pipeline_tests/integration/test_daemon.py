"""The real webserver and daemon: runs launched and stopped as the UI does it, and those that the sensors start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from eurosky_pipeline.orchestration.workers import worker_of
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.dagster_server import REPOSITORY, DagsterServer, running_up, wait_until
from eurosky_pipeline_tests.pipeline import register

LOGS = """
query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } } }
"""
START_SENSOR = "mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"


@pytest.fixture(scope="module")
def registry(sandbox) -> Registry:
    return open_registry(load_settings())


@pytest.fixture(scope="module")
def server(sandbox) -> Iterator[DagsterServer]:
    # what starts by itself is switched on where a test is about it
    with running_up(sandbox.home, EUROSKY_SENSORS_OFF="new_migrations,resume_waiting") as running:
        yield running


def new_account(sandbox) -> SeededAccount:
    return seed(sandbox.state, records=20, blobs=4, blob_bytes=9_000, report=print)


def test_a_run_launched_in_the_ui_moves_the_account(sandbox, registry, server) -> None:
    token = register(registry, new_account(sandbox)).token
    run_id = server.launch(token)
    wait_until(lambda: server.run(run_id).status in {"SUCCESS", "FAILURE"}, 120)
    run = server.run(run_id)
    assert run.status == "SUCCESS"
    assert registry.get(token).state is State.PENDING_PREFS
    assert registry.get(token).progress_data["reconciliation_status"] == "complete"
    assert "eurosky/did" in run.tags


def test_a_second_one_on_the_same_home_is_refused_and_doctor_sees_the_first(
    sandbox, registry: Registry, server: DagsterServer
) -> None:
    second = eurosky("up", "--port", "1", home=sandbox.home)
    assert (second.exit_code, "runs already on the instance" in second.stderr) == (1, True), second.stderr

    found: dict[str, dict] = {}

    def is_running() -> bool:
        found.update({row["name"]: row for row in eurosky("doctor", "--json", home=sandbox.home).json["checks"]})
        return found["daemon"]["found"].startswith("runs; ")

    wait_until(is_running, 90)  # its first heartbeats take some seconds
    assert (found["database"]["verdict"], found["key"]["verdict"], found["Dagster"]["verdict"]) == ("ok", "ok", "ok")
    assert "resume_waiting" in found["sensors"]["found"]
    assert found["sandbox"]["found"].startswith("runs: ")


def test_a_run_that_waits_to_try_again_is_stopped_within_seconds(
    sandbox, registry: Registry, server: DagsterServer
) -> None:
    token = register(registry, new_account(sandbox), source_pds="https://no-such-host.invalid").token
    run_id = server.launch(token)
    messages: list[str] = []

    def is_waiting_for_the_third_attempt() -> bool:
        messages[:] = [event.get("message", "") for event in server.ask(LOGS, id=run_id)["logsForRun"]["events"]]
        return any(f"[{token}]" in text and "attempt 3 of 3 in 18 s" in text for text in messages)

    wait_until(is_waiting_for_the_third_attempt, 120)
    assert sum("attempt 2 of 3 in 3 s" in text for text in messages) == 1
    asked_s = time.monotonic()
    server.terminate(run_id)
    wait_until(lambda: server.run(run_id).status == "CANCELED", 60)
    wait_until(lambda: registry.get(token).lease_expires_at is None, 30)
    print(f"stopped {time.monotonic() - asked_s:.1f} s after it was asked to")
    assert time.monotonic() - asked_s < 15, "it has waited the 18 s out"
    assert (registry.get(token).state, registry.get(token).error_code) == (State.PENDING_REPO, None)


def test_the_sensor_resumes_what_has_waited_long_enough_and_only_once(
    sandbox, registry: Registry, server: DagsterServer
) -> None:
    token = register(registry, new_account(sandbox)).token
    other = registry.add(NewMigration("did:web:other.example", "https://old.example", "https://new.example"), {}).token
    now = datetime.now(UTC)
    for each, until in ((token, now), (other, now + timedelta(hours=1))):
        assert registry.wait(each, until, RateLimited("the destination allows no more for 3600 s"))
    server.ask(START_SENSOR, selector={**REPOSITORY, "sensorName": "resume_waiting"})
    wait_until(lambda: registry.get(token).state is State.PENDING_PREFS, 150)
    assert (registry.get(token).attempts, registry.get(token).resume_at) == (1, None)
    assert (registry.get(other).state, registry.get(other).attempts) == (State.WAITING, 0)


def test_the_sensor_starts_a_new_migration_by_itself(sandbox, registry, server) -> None:
    token = register(registry, new_account(sandbox)).token
    server.ask(START_SENSOR, selector={**REPOSITORY, "sensorName": "new_migrations"})
    wait_until(lambda: registry.get(token).state is State.PENDING_PREFS, 150)
    assert registry.get(token).attempts == 1


def test_a_run_whose_process_is_killed_with_its_parent_is_failed_and_the_daemon_goes_on(
    sandbox, registry: Registry, server: DagsterServer
) -> None:
    """Nobody is left to say how it ended: run monitoring finds that it is gone."""
    token = register(registry, new_account(sandbox), source_pds="https://another-such-host.invalid").token
    run_id = server.launch(token)
    wait_until(lambda: server.run(run_id).status == "STARTED", 120)
    worker = psutil.Process(worker_of(server.run(run_id).tags).pid)
    warm = worker.parent()
    warm.kill()
    worker.kill()
    killed_s = time.monotonic()
    wait_until(lambda: server.run(run_id).status == "FAILURE", 90)
    print(f"found {time.monotonic() - killed_s:.1f} s after it was killed")

    following = register(registry, new_account(sandbox)).token
    next_id = server.launch(following)
    wait_until(lambda: server.run(next_id).status == "SUCCESS", 120)
    assert warm.pid not in {process.pid for process in server.processes()}
