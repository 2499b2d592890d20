"""The contract of commands: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.sandbox.seed import seed
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline_tests.integration.command import EUROSKY, environment, eurosky
from eurosky_pipeline_tests.pipeline import files_holding, register


@pytest.fixture
def account(sandbox) -> dict[str, str]:
    seeded = eurosky(
        "sandbox", "seed", "--records", "20", "--blobs", "4", "--blob-bytes", "9000", "--json", home=sandbox.home
    )
    assert seeded.exit_code == 0, seeded.stderr
    return seeded.json


def add(sandbox, account: dict[str, str], password: str | None = None) -> str:
    added = eurosky(
        *("migrations", "add", "--json", "--did", account["did"], "--handle", account["handle"]),
        *("--source-pds", account["source_pds"], "--destination-pds", account["destination_pds"]),
        *("--destination-password-env", "THE_PASSWORD"),
        home=sandbox.home,
        THE_PASSWORD=password or account["destination_password"],
    )
    assert added.exit_code == 0, added.stderr
    return added.json["token"]


def test_seed_prints_the_contracts_keys(account: dict[str, str]) -> None:
    assert set(account) == {
        "did",
        "handle",
        "source_pds",
        "destination_pds",
        "source_password",
        "destination_password",
        "plc_url",
    }


def test_what_is_odd_about_an_account_is_told_by_the_command_that_moves_it(sandbox, account: dict[str, str]) -> None:
    token = add(sandbox, account | {"handle": "nobody-is-called-that.test"})
    done = eurosky("migrate", token, "--json", home=sandbox.home)
    assert done.exit_code == 0, done.stderr
    unknown, unclaimed = done.json[0]["warnings"]
    assert "could not be confirmed" in unknown
    assert f"claims the handle {account['handle']}" in unclaimed
    again = eurosky("migrate", token, home=sandbox.home)
    assert f"{token}: {unknown}\n{token}: {unclaimed}\n" in again.stderr


def test_a_migration_from_add_over_check_to_show(sandbox, account: dict[str, str]) -> None:
    token = add(sandbox, account)
    checked = eurosky("migrations", "check", token, "--json", home=sandbox.home)
    assert checked.exit_code == 0, checked.stdout
    rows = {row["name"]: row for row in checked.json["checks"]}
    assert {row["verdict"] for row in rows.values()} == {"go"}, rows
    assert rows["imports"]["found"].startswith("accepted")
    assert (rows["repository"]["found"][:10], rows["blobs"]["found"][:8]) == ("20 records", "4 blobs,")

    done = eurosky("migrate", token, "--json", home=sandbox.home)
    assert done.exit_code == 0, done.stderr
    assert "transferred_blobs" in done.stderr
    assert done.json[0]["reconciliation_status"] == "complete"

    listed = {row["token"]: row for row in eurosky("migrations", "list", "--json", home=sandbox.home).json}
    assert listed[token]["state"] == "pending_prefs"
    assert (listed[token]["did"], listed[token]["handle"]) == (account["did"], account["handle"])

    shown = eurosky("migrations", "show", token, "--json", home=sandbox.home).json
    assert shown["progress_data"]["blobs_completed"] == 4
    assert shown["error"] is None
    assert shown["attempts"] == 1


def test_a_lost_blob_is_exit_code_3(sandbox, account: dict[str, str]) -> None:
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account["did"]
    next(path for path in folder.iterdir() if path.is_file()).unlink()
    token = add(sandbox, account)
    done = eurosky("migrate", token, home=sandbox.home)
    assert done.exit_code == 3
    report = sandbox.home / "artifacts" / token / "reconciliation_report.csv"
    assert f"1 blobs are not there; {report} names them" in done.stderr
    assert "  1 missing_at_source: " in done.stderr
    assert report.is_file()


def test_a_wrong_password_is_exit_code_1_and_shown_nowhere(sandbox, account: dict[str, str]) -> None:
    canary = "canary-password-93"
    token = add(sandbox, account, canary)
    done = eurosky("migrate", token, home=sandbox.home)
    assert done.exit_code == 1
    assert "wrong_password" in done.stderr
    assert "check the password" in done.stderr
    assert eurosky("migrations", "show", token, "--json", home=sandbox.home).json["error"]["code"] == "wrong_password"
    assert canary not in done.stdout + done.stderr
    assert files_holding(canary, sandbox.home) == []


def test_a_second_migration_of_the_same_account_is_refused(sandbox, account: dict[str, str]) -> None:
    token = add(sandbox, account)
    with pytest.raises(AssertionError, match=f"already has an active migration, {token}"):
        add(sandbox, account)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["migrate"], "name at least one TOKEN"),
        (["migrate", "EURO-NOSUCHTOKEN00000"], "there is no migration"),
        (["migrations", "add", "--did", "did:plc:x"], "Missing option"),
        (["sandbox", "dance"], "No such command"),
    ],
)
def test_bad_arguments_are_exit_code_2(sandbox, arguments: list[str], phrase: str) -> None:
    done = eurosky(*arguments, home=sandbox.home)
    assert done.exit_code == 2
    assert phrase in done.stderr
    assert done.stdout == ""
    as_json = eurosky(*arguments, "--json", home=sandbox.home)
    assert as_json.exit_code == 2
    assert phrase in as_json.json["error"]["message"]


def test_an_error_with_json_is_one_json_value_with_code_message_and_hint(sandbox) -> None:
    done = eurosky("migrations", "show", "EURO-NOSUCHTOKEN00000", "--json", home=sandbox.home)
    assert done.exit_code == 1
    assert set(done.json["error"]) == {"code", "message", "hint"}
    assert done.json["error"]["code"] == "unknown_token"


def test_status_and_env_tell_where_the_sandbox_is(sandbox) -> None:
    status = eurosky("sandbox", "status", "--json", home=sandbox.home)
    assert status.exit_code == 0
    assert [(server["name"], server["healthy"]) for server in status.json] == [
        ("plc", True),
        ("source", True),
        ("destination", True),
    ]
    variables = eurosky("sandbox", "env", home=sandbox.home).stdout
    assert f"export SANDBOX_PLC_URL={sandbox.state.plc_url}" in variables


def test_a_migration_that_a_person_gives_up_makes_room_for_another(sandbox, account: dict[str, str]) -> None:
    token = add(sandbox, account)
    cancelled = eurosky("migrations", "cancel", token, "--json", home=sandbox.home)
    assert cancelled.json == {"token": token, "state": "cancelled"}
    newer = add(sandbox, account)
    refused = eurosky("migrate", token, "--json", home=sandbox.home)
    assert refused.exit_code == 1
    assert refused.json["error"]["code"] == "already_active"
    assert newer in refused.json["error"]["message"]


def test_a_conversion_that_failed_is_retried_without_it_by_command(sandbox) -> None:
    account = seed(sandbox.state, records=8, blobs=0, blob_bytes=9_000, legacy=2, report=print)
    registry = open_registry(load_settings())
    token = register(registry, account).token
    folder = sandbox.home / "sandbox" / "source" / "blobs" / account.did
    next(path for path in folder.iterdir() if path.is_file()).unlink()

    switched_on = ("migrate", token, "--convert-legacy-blobs", "--json")
    failed = eurosky(*switched_on, home=sandbox.home, UNKNOWN_BLOB_SIZE="fail")
    assert failed.exit_code == 1
    assert failed.json[0]["error_code"] == "blob_size_unknown"
    assert (registry.get(token).state, registry.get(token).convert_legacy_blobs) == ("failed", True)

    retried = eurosky("migrations", "retry", token, "--no-convert-legacy-blobs", "--json", home=sandbox.home)
    assert (retried.exit_code, retried.json) == (0, {"token": token, "state": "pending_repo"})
    assert eurosky("migrate", token, "--json", home=sandbox.home).exit_code == 3  # the blob is still lost
    assert registry.get(token).convert_legacy_blobs is False
    assert registry.get(token).progress_data["legacy_blobs_converted"] is False
    registry.close()


def test_what_has_arrived_is_not_sent_again(sandbox, account: dict[str, str]) -> None:
    token = add(sandbox, account)
    assert eurosky("migrate", token, home=sandbox.home).exit_code == 0
    again = eurosky("migrate", token, home=sandbox.home)
    assert again.exit_code == 0
    assert "4 of 4 blobs" in again.stderr
    assert "4 of them already there" in again.stderr
    assert "it was already there" in again.stderr


def test_bars_move_on_a_terminal_while_blobs_are_under_way(sandbox) -> None:
    seeded = ("sandbox", "seed", "--records", "100", "--blobs", "150", "--blob-bytes", "300000", "--json")
    token = add(sandbox, eurosky(*seeded, home=sandbox.home).json)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [EUROSKY, "migrate", token],
        env=environment(sandbox.home, TERM="xterm"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    painted = b""
    with suppress(OSError):  # a terminal whose last writer has gone ends so
        while chunk := os.read(ours, 65536):
            painted += chunk
    os.close(ours)
    assert process.wait(60) == 0
    counts = {int(count) for count in re.findall(rb"(\d+)/150", painted)}
    assert counts - {0, 150}


def test_ctrl_c_stops_within_seconds_keeps_the_state_and_leaves_no_blob(sandbox) -> None:
    big = eurosky(
        *("sandbox", "seed", "--records", "100", "--blobs", "200", "--blob-bytes", "1000000", "--json"),
        home=sandbox.home,
    ).json
    token = add(sandbox, big)
    process = subprocess.Popen(
        [EUROSKY, "migrate", token, "--json"],
        env=environment(sandbox.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    scratch = sandbox.home / "work" / token / "blobs"
    deadline_s = time.monotonic() + 60
    while not (scratch.exists() and any(scratch.iterdir())) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    asked_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert time.monotonic() - asked_s < 30
    assert process.returncode == 1
    (outcome,) = json.loads(stdout)
    assert (outcome["error_code"], outcome["state"]) == ("stopped", "pending_blobs")
    assert not scratch.exists()
    assert eurosky("migrate", token, "--json", home=sandbox.home).json[0]["reconciliation_status"] == "complete"
