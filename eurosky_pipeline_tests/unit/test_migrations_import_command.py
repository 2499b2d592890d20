"""`eurosky migrations import`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.command import EUROSKY, environment

ALICE, BOB = "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:z72i7hdynmk6r22z27h6tvur"
HEADER = "did,source_pds,destination_pds,destination_password"
HOSTS = "https://old.example,https://new.example"
LIST = f"{HEADER}\n{ALICE},{HOSTS},canary-one\n{BOB},{HOSTS},canary-two\n"
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path / "home"))
    for name in ("EUROSKY_DATABASE_URL", "EUROSKY_VAULT_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    opened = open_registry(load_settings())
    yield opened
    opened.close()


def hand_in(file: Path | str, *arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(migrations, ["import", str(file), *arguments], input=given)


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    path = tmp_path / "accounts.csv"
    path.write_text(LIST)
    return path


def test_a_list_is_added_once_and_unchanged_the_second_time(registry: Registry, accounts: Path) -> None:
    first, second = hand_in(accounts, "--json"), hand_in(accounts, "--json")
    assert (first.exit_code, json.loads(first.stdout)) == (0, {"added": 2, "unchanged": 0, "rejected": []})
    assert (second.exit_code, json.loads(second.stdout)) == (0, {"added": 0, "unchanged": 2, "rejected": []})
    found = list(registry.each())
    assert [migration.did for migration in found] == [ALICE, BOB]
    assert registry.password(found[1].token, Side.DESTINATION) == SecretStr("canary-two")


def test_what_is_rejected_is_told_with_lines_and_reasons_and_is_exit_code_3(registry: Registry, accounts: Path) -> None:
    accounts.write_text(
        LIST + f"{ALICE},{HOSTS},canary-one\ndid:plc:x,{HOSTS},canary\ncanary,{HOSTS},canary\n{BOB},{HOSTS}\n"
    )
    done = hand_in(accounts, "--json")
    assert done.exit_code == 3
    result = json.loads(done.stdout)
    assert (result["added"], result["unchanged"]) == (2, 0)
    assert [item["line"] for item in result["rejected"]] == [4, 5, 6, 7]
    assert f"{ALICE} is on line 2 already" in result["rejected"][0]["reason"]
    assert all(set(item) == {"line", "reason"} for item in result["rejected"])
    human = hand_in(accounts)
    assert human.exit_code == 3
    assert "0 added, 2 unchanged, 4 rejected" in human.stdout
    assert "is on line 2 already" in human.stdout
    assert "canary" not in done.output + human.output


def test_a_did_that_migrates_to_elsewhere_is_rejected_with_its_token(registry: Registry, accounts: Path) -> None:
    assert "`eurosky up` starts them by itself" in hand_in(accounts).stderr
    accounts.write_text(LIST.replace("https://new.example", "https://elsewhere.example"))
    rejected = json.loads(hand_in(accounts, "--json").stdout)["rejected"]
    assert [item["line"] for item in rejected] == [2, 3]
    assert next(registry.each()).token in rejected[0]["reason"]


def test_a_dry_run_tells_the_same_and_makes_neither_file_nor_folder(home: Path, accounts: Path) -> None:
    accounts.write_text(LIST + f"bad,{HOSTS},x\n")
    dry = hand_in(accounts, "--dry-run", "--json")
    assert not home.exists()
    real = hand_in(accounts, "--json")
    assert (dry.exit_code, json.loads(dry.stdout)) == (real.exit_code, json.loads(real.stdout))
    assert hand_in(accounts, "--dry-run", "--json").stdout == hand_in(accounts, "--json").stdout
    assert "would be added" in hand_in(accounts, "--dry-run").stdout


def test_a_dry_run_says_so_too_where_a_newer_program_has_been(registry: Registry, home: Path, accounts: Path) -> None:
    registry.close()
    with closing(sqlite3.connect(home / "registry.sqlite")) as database:
        database.execute("UPDATE eurosky_schema_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(SettingsError) as caught:
        raise hand_in(accounts, "--dry-run").exception  # type: ignore[misc]
    assert caught.value.code == "schema_newer"


def test_a_dry_run_leaves_the_passwords_that_are_there(registry: Registry, accounts: Path) -> None:
    hand_in(accounts)
    accounts.write_text(LIST.replace("canary-one", "canary-new"))
    hand_in(accounts, "--dry-run")
    assert registry.password(next(registry.each()).token, Side.DESTINATION) == SecretStr("canary-one")


def test_json_lines_are_told_by_what_they_begin_with_or_by_the_option(registry: Registry, tmp_path: Path) -> None:
    rows = [{"did": did, "source_pds": "https://old.example", "destination_password": "x"} for did in (ALICE, BOB)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = hand_in("-", "--destination-pds", "https://new.example", "--json", given=text)
    assert json.loads(done.stdout) == {"added": 2, "unchanged": 0, "rejected": []}
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(SettingsError, match="names of its columns"):
        invoke_plainly(tmp_path / "list.txt", "--format", "csv")


def invoke_plainly(file: Path, *arguments: str) -> None:
    CliRunner().invoke(migrations, ["import", str(file), *arguments], catch_exceptions=False)


def test_an_unknown_column_is_an_error_before_anything_is_added(registry: Registry, accounts: Path) -> None:
    accounts.write_text(LIST.replace("destination_password", "destination_pasword"))
    with pytest.raises(SettingsError, match="destination_pasword"):
        invoke_plainly(accounts)
    assert list(registry.each()) == []


def test_passwords_may_come_from_a_variable_of_the_command_or_be_asked_for(
    registry: Registry, accounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "canary-env")
    accounts.write_text(f"{HEADER}\n{ALICE},{HOSTS},\n")
    assert hand_in(accounts, "--destination-password-env", "GIVEN").exit_code == 0
    token = next(registry.each()).token
    assert registry.password(token, Side.DESTINATION) == SecretStr("canary-env")
    asked = hand_in(accounts, "--destination-password-prompt", "--source-password-prompt", given="canary-a\ncanary-b\n")
    assert asked.exit_code == 0, asked.output
    assert registry.password(token, Side.DESTINATION) == SecretStr("canary-a")
    assert registry.password(token, Side.SOURCE) == SecretStr("canary-b")
    assert "canary" not in asked.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("-", "--destination-password-prompt"),
        ("accounts.csv", "--destination-password-prompt", "--destination-password-env", "X"),
        ("nosuchfile.csv",),
        ("accounts.csv", "--format", "xlsx"),
    ],
)
def test_what_cannot_be_asked_together_is_a_bad_argument(
    accounts: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(accounts.parent)
    assert hand_in(*arguments).exit_code == 2


def test_more_rejected_rows_than_a_person_reads_are_counted_and_json_has_them_all(accounts: Path) -> None:
    accounts.write_text(HEADER + "\n" + f"bad,{HOSTS},x\n" * 1200)
    human = hand_in(accounts)
    assert "1,200 rejected" in human.stdout
    assert "1,150 more" in human.stdout
    assert len(json.loads(hand_in(accounts, "--json").stdout)["rejected"]) == 1200


def test_no_password_stands_anywhere_in_the_home(home: Path, accounts: Path) -> None:
    hand_in(accounts)
    held = [path.name for path in home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert held == []
    assert (home / "registry.sqlite").exists()


def test_stopped_by_ctrl_c_whole_batches_are_in_and_it_can_be_run_again(home: Path, tmp_path: Path) -> None:
    def did(number: int) -> str:
        return "did:plc:" + "".join(LETTERS[number // 32**place % 32] for place in range(3)) + "a" * 21

    rows = [f"{did(number)},{HOSTS},x\n" for number in range(700)]
    process = subprocess.Popen(
        [EUROSKY, "migrations", "import", "-", "--json"],
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    guard = threading.Timer(120, process.kill)
    guard.start()
    process.stdin.write((HEADER + "\n" + "".join(rows[:600])).encode())
    process.stdin.flush()
    deadline = time.monotonic() + 100
    while not home.exists() or count(home) < 500:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # what is in is counted a moment later; then it waits for the rest of the list
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate()
    guard.cancel()
    assert process.returncode == 1
    assert json.loads(stdout)["error"]["code"] == "stopped"
    assert b"500 rows" in stderr
    assert count(home) == 500
    (tmp_path / "list.csv").write_text(HEADER + "\n" + "".join(rows))
    assert json.loads(hand_in(tmp_path / "list.csv", "--json").stdout) == {
        "added": 200,
        "unchanged": 500,
        "rejected": [],
    }


def count(home: Path) -> int:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(home / "registry.sqlite")) as database:
        return int(database.execute("SELECT count(*) FROM migrations").fetchone()[0])
    return 0  # not there yet
