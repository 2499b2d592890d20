"""`eurosky migrations purge`: what a finished migration has left goes, and is told; nothing else does."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from eurosky_pipeline.artifacts.purge import purge_migration, would_purge
from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, REPORT_CSV, Workspace
from eurosky_pipeline.atproto.cid import parse_cid
from eurosky_pipeline.cli.migrate import _taken_up
from eurosky_pipeline.cli.migrations_purge import purge as purge_command
from eurosky_pipeline.errors import ConflictError, FatalError
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.purge import HOLD, Purge, open_purge
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.conftest import Sql

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
CAR_BYTES = 1000


def add(registry: Registry, settings: Settings, letter: str = "a") -> str:
    """A migration with everything that a run leaves, and what a killed one leaves beside it."""
    new = NewMigration("did:plc:" + letter * 24, "https://old.example", "https://new.example", handle="alice.example")
    token = registry.add(new, {Side.DESTINATION: SecretStr("correct horse")}).token
    workspace = Workspace(settings.home, settings.resolved_artifacts, token)
    workspace.scratch(ACCOUNT_CAR).write_bytes(b"c" * CAR_BYTES)
    workspace.keep(ACCOUNT_CAR)
    workspace.scratch(REPORT_CSV).write_bytes(b"report")
    workspace.keep(REPORT_CSV)
    workspace.blobs.mkdir()
    (workspace.blobs / CID).write_bytes(b"blob")
    progress = {"blobs_total": 1, "failed_blobs": [CID], "converted_car_path": "/somewhere/account.converted.car"}
    registry.record(token, progress, [BlobOutcome(parse_cid(CID), Outcome.FAILED, error_code="x", error_text="x")])
    return token


def failed(registry: Registry, settings: Settings, letter: str = "a") -> str:
    token = add(registry, settings, letter)
    registry.fail(token, FatalError(f"did:plc:{letter * 24} could not be moved", code="disk"))
    return token


@pytest.fixture
def purge(settings: Settings) -> Purge:
    return open_purge(settings)


def files_of(settings: Settings, token: str) -> list[Path]:
    return [path for path in settings.home.rglob("*") if token in str(path)]


def test_files_ledger_passwords_and_names_of_blobs_go_and_the_row_stays(
    registry: Registry, purge: Purge, settings: Settings
) -> None:
    token = failed(registry, settings)
    other = failed(registry, settings, "b")
    before = registry.get(token)
    expected = would_purge(purge, settings, token)
    gone = purge_migration(purge, settings, token)
    assert gone == expected
    assert (gone.ledger_rows, gone.credentials) == (1, 1)
    assert gone.files >= 5
    assert CAR_BYTES <= gone.size_bytes < 2 * CAR_BYTES, "a file with two names is one file"
    assert files_of(settings, token) == []
    assert registry.outcomes(token) == []
    assert registry.password(token, Side.DESTINATION) is None
    after = registry.get(token)
    assert after.progress_data == {"blobs_total": 1}
    assert after.purged_at is not None
    assert (after.did, after.handle, after.state, after.updated_at, after.lease_holder, after.lease_expires_at) == (
        *(before.did, before.handle, before.state, before.updated_at),
        *(None, None),
    )
    assert len(files_of(settings, other)) > 5
    assert len(registry.outcomes(other)) == 1


def test_a_purged_one_can_be_run_again_and_then_purged_again(
    registry: Registry, purge: Purge, settings: Settings
) -> None:
    token = failed(registry, settings)
    purge_migration(purge, settings, token)
    assert list(purge.due()) == []
    assert registry.retry(token).state is State.PENDING_REPO
    registry.fail(token, FatalError("no", code="disk"))
    assert [migration.token for migration in purge.due()] == [token]


def test_forgetting_leaves_nothing_that_tells_whose_it_was(
    registry: Registry, purge: Purge, settings: Settings, sql: Sql
) -> None:
    token = add(registry, settings)
    registry.acquire_lease(token, "run-1", 60)
    registry.fail(token, FatalError(f"did:plc:{'a' * 24} could not be moved", code="disk"))
    registry.release_leases("run-1")
    purge_migration(purge, settings, token)
    assert [each.token for each in purge.due(is_forgetting=True)] == [token], "its account is still there"
    purge_migration(purge, settings, token, is_forgetting=True)
    assert list(purge.due(is_forgetting=True)) == []
    rows = str(sql("SELECT * FROM migrations")) + str(sql("SELECT * FROM attempts"))
    assert token in rows
    for trace in ("did:plc", "alice.example", CID):
        assert trace not in rows
    assert registry.get(token).error_code == "disk"


def test_one_that_is_forgotten_is_not_run_again(registry: Registry, purge: Purge, settings: Settings) -> None:
    token = failed(registry, settings)
    purge_migration(purge, settings, token, is_forgetting=True)
    before = registry.get(token)
    for again in (registry.retry, registry.resume, lambda token: _taken_up(registry, token)):
        with pytest.raises(ConflictError) as caught:
            again(token)
        assert caught.value.code == "forgotten"
    assert registry.get(token) == before


@pytest.mark.parametrize("database_url", [None])
def test_no_byte_of_the_embedded_database_holds_what_was_purged(
    registry: Registry, purge: Purge, settings: Settings
) -> None:
    token = failed(registry, settings)
    purge_migration(purge, settings, token, is_forgetting=True)
    purge.close()
    kept = b"".join(path.read_bytes() for path in settings.home.glob("registry.sqlite*"))
    assert token.encode() in kept
    for trace in (b"did:plc:aaaa", b"alice.example", CID.encode()):
        assert trace not in kept


@pytest.mark.parametrize("state", ["pending_repo", "pending_blobs", "waiting"])
def test_what_is_under_way_or_waits_is_left_alone(
    registry: Registry, purge: Purge, settings: Settings, state: str
) -> None:
    token = add(registry, settings)
    if state == "pending_blobs":
        registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    if state == "waiting":
        registry.wait(token, datetime.now(UTC) + timedelta(days=1), RateLimited("no more today"))
    before = files_of(settings, token)
    assert list(purge.due()) == []
    with pytest.raises(ConflictError) as caught:
        purge_migration(purge, settings, token)
    assert caught.value.code == "not_finished"
    assert files_of(settings, token) == before
    assert registry.password(token, Side.DESTINATION) is not None


def test_one_that_a_run_works_on_is_left_alone(registry: Registry, purge: Purge, settings: Settings) -> None:
    token = failed(registry, settings)
    registry.acquire_lease(token, "run-1", 60)
    assert list(purge.due()) == []
    with pytest.raises(LeaseHeldError):
        purge_migration(purge, settings, token)
    assert len(files_of(settings, token)) > 5


def test_no_run_begins_while_files_go_and_a_crash_leaves_it_to_be_done_again(
    registry: Registry, purge: Purge, settings: Settings, sql: Sql
) -> None:
    token = failed(registry, settings)

    def crash() -> None:
        with pytest.raises(LeaseHeldError):
            registry.acquire_lease(token, "run-1", 60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purge_migration(purge, settings, token, before_rows=crash)
    assert registry.get(token).purged_at is None
    assert registry.get(token).lease_expires_at is None, "who is stopped lets go of it"
    sql("UPDATE migrations SET lease_holder = 'purge-x', lease_expires_at = :soon", soon=datetime.now(UTC) + HOLD)
    with pytest.raises(LeaseHeldError):  # and who is killed cannot: it is free again after a while
        purge_migration(purge, settings, token)
    sql("UPDATE migrations SET lease_expires_at = :then", then=datetime.now(UTC) - timedelta(seconds=1))
    assert purge_migration(purge, settings, token).ledger_rows == 1


def test_a_file_that_cannot_be_deleted_leaves_the_rows(
    registry: Registry, purge: Purge, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = failed(registry, settings)

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(FatalError):
            purge_migration(purge, settings, token)
    assert len(registry.outcomes(token)) == 1
    assert registry.get(token).purged_at is None
    assert purge_migration(purge, settings, token).ledger_rows == 1


def test_only_what_ended_long_enough_ago_is_due_page_by_page(
    registry: Registry, purge: Purge, settings: Settings, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eurosky_pipeline.registry.purge._PAGE_ROWS", 2)
    tokens = [failed(registry, settings, letter) for letter in "abcde"]
    sql("UPDATE migrations SET updated_at = :then", then=datetime.now(UTC) - timedelta(days=31))
    late = failed(registry, settings, "f")
    before = datetime.now(UTC) - timedelta(days=30)
    assert [migration.token for migration in purge.due(ended_before=before)] == sorted(tokens)
    assert len(list(purge.due())) == 6
    assert [m.token for m in purge.due([State.FAILED], datetime.now(UTC))] == sorted([*tokens, late])
    assert list(purge.due([State.CANCELLED])) == []


def run(settings: Settings, *arguments: str) -> Result:
    environment = {"EUROSKY_HOME": str(settings.home), "DAGSTER_HOME": str(settings.home / "dagster")}
    for name, value in (("DATABASE_URL", settings.database_url), ("VAULT_KEY", settings.vault_key)):
        environment[f"EUROSKY_{name}"] = value.get_secret_value() if value else ""
    return CliRunner(env=environment).invoke(purge_command, list(arguments))


def test_the_command_says_what_went_of_each_and_in_all(registry: Registry, settings: Settings) -> None:
    tokens = [failed(registry, settings, letter) for letter in "ab"]
    under_way = add(registry, settings, "c")
    dry = run(settings, *tokens, under_way, "--dry-run", "--json")
    assert (dry.exit_code, json.loads(dry.stdout)["is_dry_run"]) == (3, True)
    assert len(files_of(settings, tokens[0])) > 5
    done = run(settings, *tokens, under_way, "--yes", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 3
    assert [each["token"] for each in found["purged"]] == tokens
    assert (found["migrations"], found["ledger_rows"], found["credentials"]) == (2, 2, 2)
    assert found["bytes"] == sum(each["bytes"] for each in found["purged"])
    assert [each["token"] for each in found["refused"]] == [under_way]
    assert json.loads(dry.stdout) | {"is_dry_run": False} == found
    assert files_of(settings, tokens[1]) == []
    again = run(settings, "--older-than", "0s", "--yes", "--json")
    assert (again.exit_code, json.loads(again.stdout)["migrations"]) == (0, 0)


@pytest.mark.parametrize("database_url", [None])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--yes"], "name at least one TOKEN"),
        (["EURO-0123456789ABCDEF", "--older-than", "3d", "--yes"], "either TOKENs, or"),
        (["--older-than", "3 years", "--yes"], "is no span of time"),
        (["--state", "waiting", "--yes"], "a state that can be purged is one of"),
        (["--older-than", "3d"], "--yes is needed"),
    ],
)
def test_nothing_is_chosen_by_default_and_nobody_is_asked_who_cannot_answer(
    registry: Registry, settings: Settings, arguments: list[str], said: str
) -> None:
    token = failed(registry, settings)
    done = run(settings, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(files_of(settings, token)) > 5


@pytest.mark.parametrize("database_url", [None])
def test_who_says_no_keeps_everything(registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    token = failed(registry, settings)
    monkeypatch.setattr("eurosky_pipeline.cli.migrations_purge._can_ask", lambda: True)
    assert run(settings, token).exit_code == 1
    assert len(files_of(settings, token)) > 5
    assert os.environ.get("DAGSTER_HOME") is None or not (settings.home / "dagster").exists()
