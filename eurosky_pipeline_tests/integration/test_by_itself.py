"""What starts by itself under the real daemon: a run that was killed is followed by another, and switches count."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.instigators import look, switch
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.command import EUROSKY, environment
from eurosky_pipeline_tests.integration.dagster_server import running_up, wait_until
from eurosky_pipeline_tests.pipeline import register


def test_a_migration_whose_process_was_killed_goes_on_without_a_hand(
    sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "EUROSKY_HOME": str(tmp_path),
        "EUROSKY_ALLOW_PRIVATE_HOSTS": "true",
        "EUROSKY_PLC_URL": sandbox.state.plc_url,
        "EUROSKY_SENSORS_OFF": "new_migrations,resume_waiting",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    registry = open_registry(load_settings())
    token = register(registry, seed(sandbox.state, records=5, blobs=10, blob_bytes=20_000, report=print)).token
    slow = environment(tmp_path, **{**settings, "EUROSKY_MAX_BYTES_PER_S": "4000"})  # it would take minutes
    process = subprocess.Popen([EUROSKY, "migrate", token], env=slow, cwd=tmp_path)
    wait_until(lambda: process.poll() is not None or registry.get(token).state is State.PENDING_BLOBS, 120)
    assert process.poll() is None
    process.kill()
    process.wait(30)
    killed = registry.get(token)

    prepare_instance(load_settings())
    with open_instance() as instance:
        switch(instance, "migration_failed", is_on=False)
        switch(instance, "resume_waiting", is_on=True)
        with running_up(tmp_path, **settings) as server:
            wait_until(lambda: registry.get(token).state is State.PENDING_PREFS, 200)
            lost, second = registry.attempts_of(token)
            assert (lost.holder, lost.error_code) == (killed.lease_holder, "run_lost")
            assert (server.run(lost.holder).status, second.error_code) == ("FAILURE", None)
            ticked = {each.name for each in look(instance) if each.last_tick is not None}
        assert {"stuck_migrations", "resume_waiting"} <= ticked  # the second is off by the setting
        assert not {"migration_failed", "new_migrations"} & ticked  # off by hand, and by the setting
    registry.close()
