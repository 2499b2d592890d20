"""Dagster's folder: made once, from the project's file, and left alone afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dagster import DagsterInstance

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.orchestration.instance import prepare_instance
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


def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    home.parent.joinpath("home").write_text("a file in the way")
    with pytest.raises(SettingsError, match="cannot be made"):
        prepare_instance(load_settings())
