"""`eurosky migrations list` and `export`: which rows, in what form, and that what was exported can be imported."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from eurosky_pipeline.cli import migrations_export
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.cli.migrations_export import harmless
from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings

OLD, NEW, OTHER = "https://old.example", "https://new.example", "https://other.example"
ALICE, BOB = "did:plc:" + "a" * 24, "did:plc:" + "b" * 24


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
    for name in ("EUROSKY_DATABASE_URL", "EUROSKY_VAULT_KEY"):
        monkeypatch.delenv(name, raising=False)
    opened = open_registry(load_settings())
    yield opened
    opened.close()


@pytest.fixture
def tokens(registry: Registry) -> list[str]:
    """Alice's, which failed with seven blobs of nine there, and Bob's, which is new."""
    password = {Side.DESTINATION: SecretStr("canary-hunter2")}
    alice = registry.add(NewMigration(ALICE, OLD, NEW, handle="alice.example"), password).token
    bob = registry.add(NewMigration(BOB, OTHER, NEW, convert_legacy_blobs=True), password).token
    registry.transition(alice, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.record(alice, {"blobs_total": 9, "blobs_completed": 7, "failed_blobs": ["x", "y"]})
    registry.fail(alice, FatalError("the disk is full", code="disk_full"))
    return [alice, bob]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(migrations, arguments, catch_exceptions=False)


def listed(*arguments: str) -> list[str]:
    done = run("list", *arguments, "--json")
    assert done.exit_code == 0
    return [row["token"] for row in json.loads(done.stdout)]


def test_the_list_has_what_its_options_leave(registry: Registry, tokens: list[str]) -> None:
    assert listed() == tokens
    assert listed("--state", "failed") == tokens[:1]
    assert listed("--state", "failed", "--state", "pending_repo") == tokens
    assert listed("--host", "https://OTHER.example/") == tokens[1:]
    assert listed("--host", NEW) == tokens
    assert listed("--limit", "1") == tokens[:1]
    assert listed("--older-than", "1h") == []
    assert listed("--newer-than", "1h") == tokens
    assert listed("--state", "completed") == []


def test_the_list_tells_what_failed_of_what(registry: Registry, tokens: list[str]) -> None:
    codes = [row["error_code"] for row in json.loads(run("list", "--json").stdout)]
    assert codes == ["disk_full", None]


@pytest.mark.parametrize(
    "arguments", [("--state", "gone"), ("--older-than", "soon"), ("--limit", "0"), ("--newer-than", "2")]
)
def test_what_cannot_be_asked_for_is_a_bad_argument(registry: Registry, arguments: tuple[str, ...]) -> None:
    for command in ("list", "export"):
        assert CliRunner().invoke(migrations, [command, *arguments]).exit_code == 2


def test_a_host_that_is_none_is_an_error(registry: Registry) -> None:
    with pytest.raises(SettingsError, match="not an http"):
        run("list", "--host", "other.example")


def test_where_nothing_is_found_the_list_says_so_beside_its_empty_result(registry: Registry) -> None:
    assert "eurosky migrations import" in run("list").stderr
    assert "no migration is failed" in run("list", "--state", "failed").stderr
    assert "no migration is like that" in run("list", "--state", "failed", "--newer-than", "1h").stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_a_long_list_is_read_page_by_page_and_comes_whole(registry: Registry) -> None:
    from eurosky_pipeline.registry.intake import Offer
    from eurosky_pipeline.registry.migration import new_token

    names = [f"user{number}.example" for number in range(450)]
    dids = [f"did:web:{name}" for name in names]
    registry.take_in([Offer(new_token(), NewMigration(did, OLD, NEW), {}) for did in dids])
    assert [row["did"] for row in json.loads(run("list", "--json").stdout)] == dids
    shown = run("list").stdout
    assert all(did in shown for did in dids)
    assert len(run("export").stdout.splitlines()) == 451


def test_the_csv_tells_states_counts_and_codes_and_no_password(registry: Registry, tokens: list[str]) -> None:
    done = run("export")
    alice, bob = csv.DictReader(io.StringIO(done.stdout))
    assert (alice["token"], alice["did"], alice["handle"], alice["state"]) == (
        tokens[0],
        ALICE,
        "alice.example",
        "failed",
    )
    assert (alice["blobs_total"], alice["blobs_completed"], alice["blobs_failed"]) == ("9", "7", "2")
    assert (alice["error_code"], alice["attempts"]) == ("disk_full", "0")
    assert (bob["convert_legacy_blobs"], bob["handle"], bob["error_code"]) == ("true", "", "")
    assert not [name for name in bob if "password" in name]
    assert "canary" not in done.output


def test_json_lines_and_one_json_array_have_the_same_rows(registry: Registry, tokens: list[str]) -> None:
    lines = [json.loads(line) for line in run("export", "--format", "jsonl").stdout.splitlines()]
    assert [row["token"] for row in lines] == tokens
    assert json.loads(run("export", "--json").stdout) == lines
    assert run("export", "--state", "failed", "--json").stdout.count("EURO-") == 1
    assert lines[0]["blobs_total"] == 9


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_what_is_exported_to_a_file_can_be_imported_with_passwords_given_anew(
    registry: Registry, tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = tmp_path / name
    done = run("export", "--output", str(file), "--json")
    assert json.loads(done.stdout) == {"path": str(file), "migrations": 2}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("GIVEN", "anew")
    again = run("import", str(file), "--destination-password-env", "GIVEN", "--json")
    # Alice's has failed, and is registered once more; Bob's is there
    assert json.loads(again.stdout) == {"added": 1, "unchanged": 1, "rejected": []}
    last = list(registry.each())[-1]
    assert (last.did, last.handle, last.source_pds, last.destination_pds) == (ALICE, "alice.example", OLD, NEW)


def test_an_export_that_fails_leaves_the_file_that_was_there(
    registry: Registry, tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "all.csv"
    file.write_text("before")

    def broken(_: object) -> dict[str, object]:
        raise FatalError("the database is gone", code="database_unavailable")

    monkeypatch.setattr(migrations_export, "exported_row", broken)
    with pytest.raises(FatalError):
        run("export", "--output", str(file))
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.csv"]


def test_two_formats_at_once_are_a_bad_argument(registry: Registry) -> None:
    assert CliRunner().invoke(migrations, ["export", "--json", "--format", "csv"]).exit_code == 2


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"
    assert (harmless("a=1"), harmless(None), harmless(-1), harmless(True)) == ("a=1", None, -1, "true")
