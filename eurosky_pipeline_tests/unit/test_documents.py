"""The documents against the code: states, verdicts, assets, checks, sensors, rooms; and that each link leads somewhere.

Held elsewhere: commands (`test_documented_commands`), settings (`test_documented_settings`), error codes
(`test_error_codes`), hooks (`test_plugins_page`), columns of frames (`test_analytics`).
"""

import re
import tomllib
from typing import Any

import pytest
import yaml

from eurosky_pipeline.cli.run_outcome import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, EXIT_WAITING
from eurosky_pipeline.orchestration.assets import ALL_ASSETS
from eurosky_pipeline.orchestration.schedules import ALL_SCHEDULES
from eurosky_pipeline.orchestration.sensors import ALL_SENSORS
from eurosky_pipeline.plugins.event_sinks import EventKind
from eurosky_pipeline.reconcile.reconcile import Status
from eurosky_pipeline.reconcile.records import RecordVerdict
from eurosky_pipeline.reconcile.verdicts import Verdict
from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.states import State
from eurosky_pipeline_tests.documents import PACKAGE, PAGES, REPOSITORY, TESTS, Table, page

CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
SOURCE = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
PATH = re.compile(r"(?!(?:https?|s3)\b|\.\.|\.venv)[\w.-]+(?:/[\w.-]+)+/?")
NO_PATHS = re.compile(r"eurosky/\w+|collection/rkey")
"""Tags of Dagster's runs; a key in a repository."""


def _table_with(name: str, *, of: str) -> Table:
    (found,) = [table for table in page(of).tables if name in table.coded()]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_each_link_within_the_repository_leads_to_a_file_and_a_heading(name: str) -> None:
    for link in page(name).links:
        if re.match(r"(https?|mailto):", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page(name).path.parent / file).resolve() if file else page(name).path
        assert target.exists(), link
        assert not anchor or anchor in page(str(target.relative_to(REPOSITORY))).anchors, link


@pytest.mark.parametrize("name", PAGES)
def test_each_file_of_the_repository_in_a_document_is_there(name: str) -> None:
    places = (REPOSITORY, PACKAGE, TESTS, page(name).path.parent)
    for told in page(name).inline:
        if PATH.fullmatch(told) and not NO_PATHS.fullmatch(told):
            assert any((place / f"{told}{end}").exists() for place in places for end in ("", ".py")), told


def test_each_document_in_a_message_or_a_docstring_is_there() -> None:
    named = {name for text in SOURCE.values() for name in re.findall(r"docs/[\w/-]+\.md", text)}
    assert len(named) >= 4
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_the_readme_tells_of_each_state_and_each_outcome_of_a_blob() -> None:
    assert set(page("README.md").table("state").coded()) == set(State)
    assert set(page("README.md").table("outcome").coded()) == set(Outcome)
    assert sum(len(page("README.md").table(title).coded()) for title in ("state", "outcome")) == len(State) + len(
        Outcome
    )


def test_the_exit_codes_beside_the_states_are_those_of_migrate() -> None:
    told = {row[0].strip("`"): re.findall(r"\b\d\b", row[2]) for row in page("README.md").table("state").rows}
    codes = {
        State.PENDING_PREFS: [EXIT_DONE, EXIT_PARTIAL],
        State.WAITING: [EXIT_WAITING],
        State.FAILED: [EXIT_FAILED],
        State.CANCELLED: [EXIT_FAILED],
    }
    assert told == {state: [str(code) for code in codes.get(state, [])] for state in State}


@pytest.mark.parametrize("name", PAGES)
def test_no_table_of_states_has_one_that_does_not_exist(name: str) -> None:
    tables = [table for table in page(name).tables if table.header[0] == "state"]
    assert {state for table in tables for state in table.coded()} <= set(State)


@pytest.mark.parametrize(
    ("title", "values"),
    [("verdict on a blob", Verdict), ("verdict on a record", RecordVerdict), ("verdict on the whole", Status)],
    ids=["blob", "record", "whole"],
)
def test_the_guide_tells_of_each_verdict(title: str, values: Any) -> None:
    assert [row[0].strip("`") for row in page("docs/migration-guide.md").table(title).rows] == list(values)


def test_the_guide_tells_of_each_check_and_its_asset() -> None:
    told = page("docs/migration-guide.md").table("check")
    specs = [(spec.name, spec.asset_key.to_user_string()) for asset in ALL_ASSETS for spec in asset.check_specs]
    assert [(row[0].strip("`"), row[1].strip("`")) for row in told.rows] == specs


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_the_tables_of_assets_have_them_all_in_their_order(name: str) -> None:
    told = [row[0].strip("`") for row in page(name).table("asset").rows]
    assert told == [asset.key.to_user_string() for asset in ALL_ASSETS]


def test_the_table_of_what_starts_by_itself_has_each_sensor_and_schedule_and_how_often() -> None:
    told = page("docs/operations.md").table("sensor")
    assert told.coded() == [each.name for each in (*ALL_SENSORS, *ALL_SCHEDULES)]
    seconds = {"s": 1, "min": 60}
    looks = [re.fullmatch(r"every (\d+) (s|min)", row[1]) for row in told.rows[: len(ALL_SENSORS)]]
    every = [int(found[1]) * seconds[found[2]] for found in looks if found]
    assert every == [each.minimum_interval_seconds for each in ALL_SENSORS]
    assert told.rows[-1][1] == "every 15 min, every night"
    assert [each.cron_schedule for each in ALL_SCHEDULES] == ["*/15 * * * *", "17 3 * * *"]


def test_the_kinds_of_events_are_told_as_they_are_posted() -> None:
    told = re.findall(r"^`type` is (.+?);", page("docs/operations.md").prose, re.M | re.S)
    assert re.findall(r"`migration\.(\w+)`", told[0]) == list(EventKind)


def test_the_ceilings_of_runs_are_told_as_the_projects_instance_has_them() -> None:
    instance = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text("utf-8"))
    told = _table_with("max_concurrent_runs", of="docs/operations.md")
    assert {row[0].strip("`"): int(row[1]) for row in told.rows} == instance["run_coordinator"]["config"]


@pytest.mark.parametrize("name", PAGES)
def test_each_tag_of_runs_in_a_document_is_set_by_somebody(name: str) -> None:
    tags = {told for told in page(name).inline if re.fullmatch(r"eurosky/\w+", told)}
    assert [tag for tag in tags if not any(f'"{tag}"' in text for text in SOURCE.values())] == []


def test_the_table_of_rooms_is_the_contract_of_layers() -> None:
    layers = [room for layer in CONTRACTS[0]["layers"] for room in layer.split(" | ")]
    told = page("docs/architecture.md").table("room")
    assert told.coded() == layers
    without_dagster = {room.rpartition(".")[2] for room in CONTRACTS[2]["source_modules"]}
    assert CONTRACTS[2]["forbidden_modules"] == ["dagster"]
    assert {
        name for row in told.rows if row[2] == "Dagster" for name in re.findall(r"`(\w+)`", row[0])
    } <= without_dagster


def test_the_readmes_house_has_every_room() -> None:
    (house,) = [text for _, text in page("README.md").blocks if text.startswith("eurosky_pipeline/\n")]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"(\w+)/ ", house)) == rooms


def test_the_table_of_tests_has_every_folder_of_them() -> None:
    told = {name.rstrip("/") for name in page("CONTRIBUTING.md").table("folder").coded()}
    assert told == {path.parent.name for path in TESTS.glob("*/__init__.py")} - {"example_plugin"}
