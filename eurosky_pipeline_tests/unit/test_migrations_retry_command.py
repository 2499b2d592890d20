"""`eurosky migrations retry`: back to where it stopped, and how it starts from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import LeaseHeldError, Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import load_settings

CANARY = "canary-6b20"


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


def test_passwords_are_given_anew_and_their_lack_is_told(
    registry: Registry, failed: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = retry(failed.token)
    assert "no destination password is stored" in lacking.stderr
    assert f"retry {failed.token} --destination-password-env VAR" in lacking.stderr
    monkeypatch.setenv("NEW", CANARY)
    monkeypatch.setenv("OLD", f"{CANARY}-source")
    given = retry(failed.token, "--destination-password-env", "NEW", "--source-password-env", "OLD")
    assert given.exit_code == 0
    assert "password" not in given.output
    assert CANARY not in given.output
    stored = [registry.password(failed.token, side) for side in (Side.DESTINATION, Side.SOURCE)]
    assert [each and each.get_secret_value() for each in stored] == [CANARY, f"{CANARY}-source"]


def test_a_variable_that_is_not_set_changes_nothing(registry: Registry, failed: Migration) -> None:
    done = retry(failed.token, "--destination-password-env", "NO_SUCH_VARIABLE")
    assert isinstance(done.exception, SettingsError)
    assert done.exception.code == "password_missing"
    assert registry.get(failed.token).state is State.FAILED


def another(registry: Registry, destination: str) -> str:
    token = registry.add(NewMigration(f"did:web:{destination}", "https://old.example", f"https://{destination}"), {})
    registry.fail(token.token, FatalError("no"))
    return token.token


def test_of_several_each_has_its_outcome(registry: Registry, failed: Migration) -> None:
    held = another(registry, "new.example")
    registry.acquire_lease(held, "a-run", 60)
    done = retry(failed.token, held, "--json")
    assert done.exit_code == 1
    one, two = json.loads(done.stdout)
    assert one == {"token": failed.token, "state": "pending_blobs"}
    assert (two["token"], two["error"]["code"]) == (held, "lease_held")


def test_all_that_failed_are_retried_and_no_others(registry: Registry, failed: Migration) -> None:
    other = another(registry, "new.example")
    given_up = another(registry, "third.example")
    registry.request_cancel(given_up)
    done = retry("--all-failed", "--json")
    assert done.exit_code == 0
    assert [each["token"] for each in json.loads(done.stdout)] == [failed.token, other]
    assert registry.get(given_up).state is State.CANCELLED
    again = retry("--all-failed", "--json")
    assert (again.exit_code, json.loads(again.stdout)) == (0, [])
    assert "no migration is in state failed" in again.stderr


@pytest.mark.parametrize("later", [State.PENDING_REPO, State.COMPLETED, State.FAILED, State.CANCELLED])
def test_of_an_account_that_was_registered_anew_the_older_one_is_left_unless_the_newer_was_given_up(
    registry: Registry, failed: Migration, later: State
) -> None:
    newer = registry.add(NewMigration(failed.did, "https://old.example", "https://new.example"), {}).token
    if later is State.FAILED:
        registry.fail(newer, FatalError("no", code="wrong_password"))
    elif later is State.CANCELLED:
        registry.request_cancel(newer)
    elif later is State.COMPLETED:
        for before, after in pairwise([State.PENDING_REPO, State.PENDING_BLOBS, State.PENDING_PREFS, later]):
            registry.transition(newer, before, after)
    done = retry("--all-failed", "--json")
    assert done.exit_code == 0
    wanted = {State.FAILED: [newer], State.CANCELLED: [failed.token]}.get(later, [])
    assert [each["token"] for each in json.loads(done.stdout)] == wanted
    is_left = "failed, and left so: 1, of accounts that have newer migrations" in done.stderr
    assert is_left is (later is not State.CANCELLED)


def test_of_an_account_whose_older_one_goes_on_the_failed_one_is_left(registry: Registry, failed: Migration) -> None:
    newer = registry.add(NewMigration(failed.did, "https://old.example", "https://new.example"), {}).token
    registry.fail(newer, FatalError("no", code="wrong_password"))
    registry.retry(failed.token)
    done = retry("--all-failed", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])


def test_one_password_is_never_for_two_hosts(
    registry: Registry, failed: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", CANARY)
    elsewhere = another(registry, "third.example")
    refused = retry(failed.token, elsewhere, "--destination-password-env", "NEW")
    assert refused.exit_code == 2
    assert "2 destination hosts" in refused.stderr
    assert registry.password(elsewhere, Side.DESTINATION) is None
    assert registry.get(failed.token).state is State.FAILED
    assert retry(failed.token, elsewhere, "--source-password-env", "NEW").exit_code == 0  # one source


def test_nothing_named_is_a_bad_argument(registry: Registry) -> None:
    assert retry().exit_code == 2
