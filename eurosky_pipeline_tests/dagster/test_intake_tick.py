"""The intake's built-in sources in the sensor's own tick: a list in the folder becomes runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dagster import DagsterInstance, SensorResult

from eurosky_pipeline.intake import folder
from eurosky_pipeline.orchestration.sensors import new_migrations
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline_tests.dagster.conftest import PASSWORD
from eurosky_pipeline_tests.dagster.ticks import asked_for, launched, said, tick

ROWS = "".join(
    f"did:plc:{letter * 24},https://old.example,https://new.example,{PASSWORD}-{letter}\n" for letter in "abc"
)
LIST = f"did,source_pds,destination_pds,destination_password\n{ROWS}alice,https://old.example,https://new.example,x\n"


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for lists; what is in it counts as whole at once."""
    monkeypatch.setattr(folder, "QUIET_S", -1.0)
    found = tmp_path / "lists"
    found.mkdir(mode=0o700)
    monkeypatch.setenv("EUROSKY_INTAKE_FOLDER", str(found))
    return found


def test_what_a_list_in_the_folder_names_is_registered_and_started_by_one_tick_and_once(
    lists: Path, registry: Registry, home: Path
) -> None:
    (lists / "accounts.csv").write_text(LIST)
    with DagsterInstance.ephemeral() as instance:
        result, cursor = tick(new_migrations, instance)
        assert isinstance(result, SensorResult)
        tokens = [str(request.partition_key) for request in result.run_requests or []]
        found = list(registry.each())
        assert tokens == [migration.token for migration in found]
        assert [migration.did[-1] for migration in found] == ["a", "b", "c"]
        assert str(registry.password(tokens[2], Side.DESTINATION)) == "**********"
        (file,) = lists.glob("taken/*.json")
        told = json.loads(file.read_text())
        assert [item["token"] for item in told["accounts"]] == tokens
        assert [item["line"] for item in told["rejected"]] == [5]
        assert list(lists.glob("*.csv")) == []
        assert PASSWORD not in f"{result}{cursor}"
        for request in result.run_requests or []:
            launched(instance, request)
        assert asked_for(new_migrations, instance) == []
        (lists / "accounts.csv").write_text(LIST)
        assert "1 rejected" in said(new_migrations, instance, cursor)  # the others are registered


def test_a_folder_that_cannot_be_used_is_named_by_the_tick_and_stops_nobody(
    lists: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUROSKY_INTAKE_FOLDER", str(lists / "nowhere"))
    with DagsterInstance.ephemeral() as instance:
        assert "watched_folder: failed: the folder for lists" in said(new_migrations, instance)
