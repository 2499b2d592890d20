"""The notebooks, run by a real kernel on what a real migration has left, on both databases; and frames beside figures
that the two servers give."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import pytest
from cryptography.fernet import Fernet
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import eurosky_pipeline
from eurosky_pipeline import analytics
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.sandbox.seed import SeededAccount, seed
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.integration.command import environment, eurosky
from eurosky_pipeline_tests.pipeline import register

FOLDER = Path(eurosky_pipeline.__file__).parents[1] / "notebooks"
NOTEBOOKS = ["bulk_migration", "repository_inspection", "transfer_metrics"]
RECORDS, BLOBS, LEGACY, DAMAGED = 30, 6, 2, 2


@dataclass(frozen=True)
class Moved:
    """An account that has been moved, and where what is known of it stands."""

    account: SeededAccount
    token: str
    home: Path
    settings: Settings
    variables: dict[str, str]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def moved(request: pytest.FixtureRequest, sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    counts = {"records": RECORDS, "blobs": BLOBS, "legacy": LEGACY, "damaged_blobs": DAMAGED}
    account = seed(sandbox.state, **counts, blob_bytes=9_000, report=print)
    home = tmp_path_factory.mktemp("analysed")
    variables = {"EUROSKY_PLC_URL": account.plc_url, "EUROSKY_ALLOW_PRIVATE_HOSTS": "true", "MAX_BLOB_RETRIES": "0"}
    name = ""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        name = server.create()
        variables |= {"EUROSKY_DATABASE_URL": server.url(name), "EUROSKY_VAULT_KEY": Fernet.generate_key().decode()}
    settings = Settings(_env_file=None, EUROSKY_HOME=home, **variables)
    registry = open_registry(settings)
    token = register(registry, account).token
    registry.close()
    done = eurosky("migrate", token, "--json", home=home, **variables)
    assert done.exit_code == 3, done.stderr
    yield Moved(account, token, home, settings, variables)
    if name:
        request.getfixturevalue("postgres_server").drop(name)


def run(name: str, home: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> nbformat.NotebookNode:
    """The notebook, executed from its first cell to its last."""
    for variable in [each for each in os.environ if each.startswith(("EUROSKY", "DAGSTER"))]:
        monkeypatch.delenv(variable)
    for variable, value in environment(home, **variables).items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(home))


def shown(notebook: nbformat.NotebookNode) -> str:
    """All text that its cells have put out."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") or str(output.get("data", {}).get("text/plain", "")) for output in outputs)


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_each_runs_from_its_first_cell_to_its_last(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk = run("bulk_migration", moved.home, monkeypatch, **moved.variables)
    transfer = run("transfer_metrics", moved.home, monkeypatch, **moved.variables)
    repository = run("repository_inspection", moved.home, monkeypatch, **moved.variables)
    assert (pictures(bulk), pictures(transfer), pictures(repository)) == (4, 5, 1)
    assert "1 migrations" in shown(bulk)
    assert moved.token in shown(transfer)
    assert f"{RECORDS + LEGACY} records" in shown(repository)
    assert f"{LEGACY} legacy references" in shown(repository)


def test_frames_say_what_the_two_servers_say(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the servers' own API, and not by anything of ours."""
    for name, value in {"EUROSKY_HOME": str(moved.home), **moved.variables}.items():
        monkeypatch.setenv(name, value)
    account = moved.account
    query = {"did": account.did, "limit": 1000}
    listed = httpx.get(f"{account.source_pds}/xrpc/com.atproto.sync.listBlobs", params=query).json()["cids"]
    blobs = analytics.blobs(moved.token).set_index("blob_cid")
    assert set(blobs.index) == set(listed)
    # the account is not active there yet: only itself may read
    asked = {"identifier": account.did, "password": account.destination_password}
    session = httpx.post(f"{account.destination_pds}/xrpc/com.atproto.server.createSession", json=asked).json()
    own = {"authorization": f"Bearer {session['accessJwt']}"}
    answers = {
        cid: httpx.get(
            f"{account.destination_pds}/xrpc/com.atproto.sync.getBlob",
            params={"did": account.did, "cid": cid},
            headers=own,
        )
        for cid in listed
    }
    there = {cid: (len(got.content), got.headers["content-type"]) for cid, got in answers.items() if got.is_success}
    assert there == {
        cid: (row.size_bytes, row.mime_type) for cid, row in blobs.iterrows() if cid not in set(not_there(moved))
    }
    assert sorted(not_there(moved)) == sorted(str(blob.blob_cid) for blob in account.damaged)
    assert sorted(not_there(moved)) == sorted(set(listed) - set(there))
    assert analytics.success_rate(moved.token).share == len(there) / len(listed)
    migration = analytics.migrations(moved.token).iloc[0]
    assert (migration["blobs_total"], migration["state"]) == (len(listed), "pending_prefs")
    runs, timings = analytics.runs(moved.token), analytics.asset_timings(moved.token)
    assert list(runs["status"]) == ["SUCCESS"]
    assert set(timings["asset"]) == set(analytics.dagster_log.ASSETS)
    assert set(timings["run_id"]) == set(runs["run_id"]) == set(analytics.attempts(moved.token)["run_id"])
    assert 0 < timings["duration_s"].sum() <= float(runs["duration_s"].iloc[0])


def not_there(moved: Moved) -> list[str]:
    return list(analytics.not_arrived(moved.token)["blob_cid"])


def test_the_report_names_the_account_and_its_figures(moved: Moved) -> None:
    found = eurosky("report", moved.token, "--json", home=moved.home, **moved.variables)
    assert (found.exit_code, found.json["blobs"]["left"], found.json["state"]) == (0, 0, "pending_prefs")
    assert {row["blob_cid"] for row in found.json["not_there"]} == {str(b.blob_cid) for b in moved.account.damaged}
    assert len(found.json["assets"]) == 6
    page = eurosky("report", moved.token, "--html", "r.html", home=moved.home, **moved.variables)
    assert page.exit_code == 0, page.stderr
    assert (moved.home / "r.html").read_text().count("<svg") == 6


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_without_data_each_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CellExecutionError) as caught:
        run(name, tmp_path, monkeypatch)
    assert "eurosky demo" in str(caught.value) or "make demo" in str(caught.value)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_with_outputs_of_a_run_and_nothing_of_the_machine(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells)
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert len(text) < 200_000
    assert not re.search(r"/home/|/root|/tmp/|/work/", text)
