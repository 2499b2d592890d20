"""Dagster's folder: made once, from the project's file, and left alone afterwards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from dagster import DagsterInstance

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.instance import FORMER_INSTANCE_FILES, INSTANCE_FILE, prepare_instance
from eurosky_pipeline.settings import load_settings


def test_the_instance_is_made_and_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    folder = prepare_instance(load_settings())
    assert folder == home / "dagster"
    assert os.environ["DAGSTER_HOME"] == str(folder)
    with DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.get_run_records() == []
    assert (folder / "storage").is_dir() or (folder / "history").is_dir()


def test_an_operators_file_is_kept(home: Path) -> None:
    folder = prepare_instance(load_settings())
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n# mine\n")
    prepare_instance(load_settings())
    assert "# mine" in (folder / "dagster.yaml").read_text()


FORMER_TEXT = """\
# Dagster's instance, as `eurosky` sets it up in $EUROSKY_HOME/dagster. Runs, events and schedules are kept in SQLite
# beside this file.

# No pop-up that asks for an e-mail address.
nux:
  enabled: false

telemetry:
  enabled: false

# Runs say what they have to say in events; capturing their stdout and stderr would start two processes a step.
compute_logs:
  module: dagster.core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager

concurrency:
  runs:
    # The one ceiling on migrations side by side; -1 for none. Each takes about 110 MB and up to PARALLEL_BLOBS threads.
    max_concurrent_runs: 10
"""


def test_a_file_of_ours_from_before_is_brought_up_to_date(home: Path) -> None:
    path = prepare_instance(load_settings()) / "dagster.yaml"
    path.write_text(FORMER_TEXT)
    prepare_instance(load_settings())
    assert path.read_text() == INSTANCE_FILE.read_text() != FORMER_TEXT
    assert [each.name for each in path.parent.glob("*dagster.yaml*")] == ["dagster.yaml"]


def test_a_file_of_ours_that_an_operator_has_changed_is_kept(home: Path) -> None:
    path = prepare_instance(load_settings()) / "dagster.yaml"
    path.write_text(FORMER_TEXT.replace(": 10", ": 3"))
    prepare_instance(load_settings())
    assert "max_concurrent_runs: 3" in path.read_text()


def test_who_changes_the_file_writes_down_what_it_was_before() -> None:
    now = hashlib.sha256(INSTANCE_FILE.read_bytes()).hexdigest()
    assert now == "b38e7f0b66f249bf4515a8561e5efa715deb7e1baf2aa8f4b3e3782fef743af6", (
        "add the old value to FORMER_INSTANCE_FILES"
    )
    assert now not in FORMER_INSTANCE_FILES


def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    home.parent.joinpath("home").write_text("a file in the way")
    with pytest.raises(SettingsError, match="cannot be made"):
        prepare_instance(load_settings())
