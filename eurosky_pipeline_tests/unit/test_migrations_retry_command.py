"""`eurosky migrations retry`: back to where it stopped, and how it starts from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    opened = open_registry(load_settings())
    yield opened
    opened.close()


@pytest.fixture
def failed(registry: Registry) -> Migration:
    token = registry.add(NewMigration("did:plc:" + "a" * 24, "https://old.example", "https://new.example"), {}).token
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.fail(token, FatalError("no", code="blob_size_unknown"))
    return registry.get(token)


def retry(*arguments: str) -> Result:
    return CliRunner().invoke(migrations, ["retry", *arguments])


def test_a_failed_migration_goes_back_to_where_it_stopped_and_the_command_that_runs_it_is_named(
    registry: Registry, failed: Migration
) -> None:
    done = retry(failed.token)
    assert done.exit_code == 0
    assert f"{failed.token} is pending_blobs" in done.stderr
    assert f"eurosky migrate {failed.token}" in done.stderr
    assert done.stdout == ""
    assert registry.get(failed.token).state is State.PENDING_BLOBS


@pytest.mark.parametrize(
    ("switch", "is_wanted"),
    [("--convert-legacy-blobs", True), ("--no-convert-legacy-blobs", False), (None, None)],
)
def test_the_switch_is_remembered_and_the_state_is_the_answer(
    registry: Registry, failed: Migration, switch: str | None, is_wanted: bool | None
) -> None:
    done = retry(failed.token, *([switch] if switch else []), "--json")
    assert json.loads(done.stdout) == {"token": failed.token, "state": "pending_blobs"}
    assert registry.get(failed.token).convert_legacy_blobs is is_wanted


def test_what_a_run_works_on_is_left_alone(registry: Registry, failed: Migration) -> None:
    registry.acquire_lease(failed.token, "a-run", 60)
    done = retry(failed.token, "--convert-legacy-blobs")
    assert isinstance(done.exception, LeaseHeldError)
    after = registry.get(failed.token)
    assert (after.state, after.convert_legacy_blobs) == (State.FAILED, None)
