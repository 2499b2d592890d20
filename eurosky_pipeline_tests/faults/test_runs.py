"""Runs beside each other, runs that a person ends, and a destination that takes no more today: all on real servers."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.state import SandboxState
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.session import log_in
from eurosky_pipeline_tests.faults.cell import Stage, look, settings_for, staged
from eurosky_pipeline_tests.faults.record import GET_BLOB, UPLOAD_BLOB
from eurosky_pipeline_tests.faults.rules import Fault, Rule
from eurosky_pipeline_tests.integration.command import EUROSKY, Finished, environment, eurosky
from eurosky_pipeline_tests.integration.dagster_server import DagsterServer, running_up, wait_until


@pytest.fixture
def home(tmp_path: Path, state: SandboxState, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for the migrations of one test, and the environment that they need."""
    for name, value in {"EUROSKY_HOME": str(tmp_path), **settings_for(state)}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def start(stage: Stage) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [EUROSKY, "migrate", stage.token, "--json"],
        env=environment(stage.home, **stage.settings),
        cwd=stage.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> Finished:
    stdout, stderr = process.communicate(timeout=240)
    return Finished(process.returncode, stdout, stderr)


def assert_all_is_well(stage: Stage) -> None:
    verdict = look(stage)
    assert (verdict.arrived, verdict.lost, verdict.miscounts) == (verdict.planned, (), ())
    assert verdict.needless == 0


def test_an_account_moves_while_another_is_stuck_in_the_middle(home: Path, state: SandboxState) -> None:
    with staged(home, state) as stuck, staged(home, state) as quick:
        stuck.source.rules.append(Rule(Fault.LATENCY, GET_BLOB, first=3, count=100, seconds=600))
        slow = start(stuck)
        wait_until(lambda: len(stuck.stored()) >= 2, 120)
        ended = finished(start(quick))
        assert ended.exit_code == 0, ended.stderr
        assert slow.poll() is None, "the one was done before the other began"
        stuck.source.rules.clear()
        assert finished(slow).exit_code == 0
        for stage in (stuck, quick):
            assert_all_is_well(stage)
            assert stage.stored().keys() == stage.planned


def test_two_runs_of_one_migration_are_kept_apart(home: Path, state: SandboxState) -> None:
    with staged(home, state) as stage:
        stage.source.rules.append(Rule(Fault.LATENCY, GET_BLOB, first=3, count=100, seconds=600))
        first = start(stage)
        wait_until(lambda: len(stage.stored()) >= 2, 120)
        second = finished(start(stage))
        stage.source.rules.clear()
        done = finished(first)
        assert (done.exit_code, second.exit_code) == (0, 1), (done, second)
        assert second.json[0]["error_code"] == "lease_held"
        assert max(stage.stored().values()) == 1
        assert_all_is_well(stage)


@pytest.fixture
def server(home: Path, state: SandboxState) -> Iterator[DagsterServer]:
    with running_up(home, **settings_for(state)) as running:
        yield running


def test_a_run_that_is_terminated_in_dagster_stops_within_seconds_and_its_ledger_is_true(
    home: Path, state: SandboxState, server: DagsterServer
) -> None:
    with staged(home, state, blobs=40) as stage:
        stage.destination.latency_s = 0.5
        run_id = server.launch(stage.token)
        wait_until(lambda: len(stage.stored()) >= 13, 120)
        stage.destination.latency_s = 3  # what is left would take a quarter of a minute
        asked_s = time.monotonic()
        server.terminate(run_id)
        wait_until(lambda: server.run(run_id).status == "CANCELED", 30)
        wait_until(lambda: stage.migration.lease_expires_at is None, 30)
        assert time.monotonic() - asked_s < 30
        time.sleep(3.5)  # longer than any request takes: who is still at work would be seen
        last_s = max(passed.ended_s for passed in stage.destination.record.passed())
        assert last_s - asked_s < 30

        migration, ledger = stage.migration, stage.registry.outcomes(stage.token)
        assert migration.state is State.PENDING_BLOBS
        there, confirmed = {str(row.blob_cid) for row in ledger if row.is_there}, stage.destination.record.confirmed()
        assert there <= confirmed.keys()
        assert len(confirmed.keys() - there) <= 5, "an answer may cross the stop, one a worker"
        assert len(stage.stored()) < len(stage.planned)
        assert migration.progress_data["blobs_completed"] == sum(row.is_there for row in ledger)
        assert migration.progress_data["bytes_transferred"] == sum(row.size_bytes for row in ledger if row.is_there)
        assert not (home / "work" / stage.token / "blobs").exists()

        stage.destination.latency_s = 0.0
        done = eurosky("migrate", stage.token, home=home, **stage.settings)
        assert done.exit_code == 0, done.stderr
        assert_all_is_well(stage)


def test_a_destination_that_takes_no_more_today_is_waited_for_and_its_operators_key_ends_the_wait(
    home: Path, state: SandboxState
) -> None:
    """The reference PDS's own limit of a day, all but used up: nobody has to run into it to know of it."""
    with staged(home, state) as stage:
        _use_up(stage, left=6)
        waiting = eurosky("migrate", stage.token, "--json", home=home, **stage.settings)
        assert waiting.exit_code == 4, waiting.stderr
        migration, uploads = stage.migration, stage.destination.record.passed(UPLOAD_BLOB)
        assert migration.state is State.WAITING
        assert timedelta(0) < migration.resume_at - datetime.now(UTC) < timedelta(hours=25)
        assert [passed.status for passed in uploads] == [200] * 6, "it knew when to stop without being refused"
        assert {str(row.blob_cid) for row in stage.registry.outcomes(stage.token)} <= set(stage.stored())

        key = f"{urlsplit(stage.destination.url).netloc}={state.destination_secrets.rate_limit_bypass_key}"
        done = eurosky("migrate", stage.token, home=home, **stage.settings, EUROSKY_RATE_LIMIT_BYPASS=key)
        assert done.exit_code == 0, done.stderr
        assert_all_is_well(stage)


def _use_up(stage: Stage, *, left: int) -> None:
    """Upload next to nothing, over and over, until the destination says that it takes only so many more today."""
    account = stage.account
    with new_http_client(1, HostPolicy(is_private_allowed=True)) as http_client:
        public = XrpcClient(http_client, account.destination_pds)
        token = log_in(public, account.did, SecretStr(account.destination_password)).access_token()
    host, port = stage.destination.upstream
    headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}

    def upload(count: int) -> int:
        connection, remaining = http.client.HTTPConnection(host, port, timeout=60), -1
        for _ in range(count):
            connection.request("POST", f"/xrpc/{UPLOAD_BLOB}", b"x", headers)
            answer = connection.getresponse()
            answer.read()
            remaining = int(answer.headers["ratelimit-remaining"])
        connection.close()
        return remaining

    first = upload(1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, [(first - left - 8) // 4] * 4))
    remaining = upload(1)
    assert upload(remaining - left) == left
