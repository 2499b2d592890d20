"""A migration is given up while its blobs are under way, and taken up again with its password."""

from __future__ import annotations

import json
import subprocess
import time

from dagster import DagsterRunStatus

from eurosky_pipeline.orchestration.instance import open_instance
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.command import EUROSKY, environment, eurosky
from eurosky_pipeline_tests.pipeline import register

SLOW = {"EUROSKY_MAX_BYTES_PER_S": "200000", "PROGRESS_UPDATE_INTERVAL": "1"}
"""A minute for all blobs."""


def test_what_runs_is_stopped_within_seconds_and_goes_on_with_a_password_given_anew(sandbox, monkeypatch) -> None:
    account = seed(sandbox.state, records=20, blobs=60, blob_bytes=100_000, report=print)
    registry = open_registry(load_settings())
    token = register(registry, account).token
    run = subprocess.Popen(
        [EUROSKY, "migrate", token, "--json"],
        env=environment(sandbox.home, **SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline_s = time.monotonic() + 120
    while not registry.get(token).progress_data.get("blobs_completed") and time.monotonic() < deadline_s:
        time.sleep(0.1)

    asked_s = time.monotonic()
    cancelled = eurosky("migrations", "cancel", token, "--json", home=sandbox.home)
    took_s = time.monotonic() - asked_s
    print(f"cancelled {took_s:.1f} s after it was asked for")
    assert (cancelled.exit_code, cancelled.json) == (0, {"token": token, "state": "cancelled"})

    stdout, _ = run.communicate(timeout=60)
    (outcome,) = json.loads(stdout)
    assert (run.returncode, outcome["error_code"], outcome["state"]) == (1, "cancelled", "cancelled")
    after = registry.get(token)
    assert (after.state, after.stopped_in, after.lease_expires_at) == (State.CANCELLED, State.PENDING_BLOBS, None)
    arrived = after.progress_data["blobs_completed"]
    assert 0 < arrived < 60
    assert not (sandbox.home / "work" / token / "blobs").exists()
    monkeypatch.setenv("DAGSTER_HOME", str(load_settings().resolved_dagster_home))
    with open_instance() as instance:
        assert instance.get_run_by_id(outcome["run_id"]).status is DagsterRunStatus.CANCELED

    password = {"THE_PASSWORD": account.destination_password}
    retried = eurosky(
        *("migrations", "retry", token, "--destination-password-env", "THE_PASSWORD", "--json"),
        **password,
        home=sandbox.home,
    )
    assert retried.json == {"token": token, "state": "pending_blobs"}
    done = eurosky("migrate", token, home=sandbox.home)
    assert done.exit_code == 0, done.stderr
    assert f"{arrived} of them already there" in done.stderr
    assert [each.ended_in for each in registry.attempts_of(token)] == [State.CANCELLED, State.PENDING_PREFS]
    registry.close()
