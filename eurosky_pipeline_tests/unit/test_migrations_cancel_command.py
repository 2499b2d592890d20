"""`eurosky migrations cancel`: each migration has an outcome, and a run that works on one is waited for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eurosky_pipeline.cli import migrations_cancel
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.cli.migrations_cancel import PATIENCE_S, wait_until_cancelled
from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.lease import LEASE_LIFETIME_S
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

NOBODY = "EURO-" + "0" * 16


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setattr(migrations_cancel, "LOOK_S", 0.05)
    opened = open_registry(load_settings())
    yield opened
    opened.close()


def add(registry: Registry, name: str = "a") -> str:
    return registry.add(NewMigration(f"did:web:{name}.example", "https://old.example", "https://new.example"), {}).token


def cancel(*arguments: str) -> Result:
    return CliRunner().invoke(migrations, ["cancel", *arguments])


def test_what_nobody_works_on_is_cancelled_at_once(registry: Registry) -> None:
    token = add(registry)
    done = cancel(token)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{token} is cancelled\n")
    assert json.loads(cancel(token, "--json").stdout) == {"token": token, "state": "cancelled"}


def test_a_run_that_works_on_it_is_waited_for(registry: Registry) -> None:
    token = add(registry)
    registry.acquire_lease(token, "a-run", 60)

    def stop_as_a_run_does() -> None:
        while not registry.is_cancel_wanted(token):
            time.sleep(0.02)
        registry.release_leases("a-run")

    run = threading.Thread(target=stop_as_a_run_does)
    run.start()
    done = cancel(token, "--json")
    run.join()
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"token": token, "state": "cancelled"})


def test_a_run_that_has_died_is_waited_for_until_its_hold_ends(registry: Registry) -> None:
    token = add(registry)
    registry.acquire_lease(token, "a-dead-run", 0.5)
    assert cancel(token).exit_code == 0
    assert registry.get(token).state is State.CANCELLED
    assert PATIENCE_S > LEASE_LIFETIME_S + 10


def test_who_does_not_wait_is_told_that_the_run_has_been_asked(registry: Registry) -> None:
    token = add(registry)
    registry.acquire_lease(token, "a-run", 60)
    done = cancel(token, "--no-wait", "--json")
    wish = registry.get(token).cancel_requested_at
    assert wish is not None
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "token": token,
        "state": "pending_repo",
        "cancel_requested_at": wish.isoformat(timespec="seconds"),
    }
    assert "has been asked to stop" in cancel(token, "--no-wait").stderr


def test_of_several_each_has_its_outcome_and_one_error_is_exit_code_1(registry: Registry) -> None:
    first, finished, last = (add(registry, name) for name in "abc")
    registry.transition(finished, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(finished, State.PENDING_BLOBS, State.PENDING_PREFS)
    done = cancel(first, finished, NOBODY, last, first, "--json")
    assert done.exit_code == 1
    one, two, three, four = json.loads(done.stdout)
    assert [one, four] == [{"token": token, "state": "cancelled"} for token in (first, last)]
    assert (two["token"], two["error"]["code"]) == (finished, "already_finished")
    assert (three["token"], three["error"]["code"]) == (NOBODY, "unknown_token")
    assert registry.get(finished).state is State.PENDING_PREFS
    words = cancel(first, finished).stderr
    assert f"{first} is cancelled\n" in words
    assert "--finished gives it up all the same" in words
    assert cancel(finished, "--finished").exit_code == 0
    assert registry.get(finished).state is State.CANCELLED


def test_the_error_of_a_single_one_is_the_commands_own(registry: Registry) -> None:
    token = add(registry)
    registry.transition(token, State.PENDING_REPO, State.PENDING_BLOBS)
    registry.transition(token, State.PENDING_BLOBS, State.PENDING_PREFS)
    done = cancel(token, "--json")
    assert isinstance(done.exception, ConflictError)
    assert done.exception.code == "already_finished"


def test_an_interrupted_wait_leaves_the_wish_and_says_so(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    token = add(registry)
    registry.acquire_lease(token, "a-run", 60)
    registry.request_cancel(token)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_until_cancelled(registry, [token], sleep=interrupt)
    assert f"the wish to cancel stays: {token}" in capsys.readouterr().err
    assert registry.is_cancel_wanted(token)


def test_a_run_that_does_not_stop_is_told_of_and_the_wish_stays(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clock runs an hour in a moment, and the lease is renewed all the time."""
    token = add(registry)
    registry.acquire_lease(token, "a-run", 60)
    registry.request_cancel(token)
    now_s = [0.0]

    def sleep(_: float) -> None:
        now_s[0] += 5

    done = wait_until_cancelled(registry, [token], clock=lambda: now_s[0], sleep=sleep)[token]
    assert done.error is not None
    assert done.error.code == "cancel_pending"
    assert "run a-run was asked to stop" in done.error.message
    assert PATIENCE_S <= now_s[0] <= PATIENCE_S + 5
    assert registry.is_cancel_wanted(token)
    said = capsys.readouterr().err.count("waiting until run a-run has stopped")
    assert 5 < said < 20, "not once, and not at each look"


def test_what_somebody_takes_up_again_meanwhile_is_not_called_cancelled(registry: Registry) -> None:
    token = add(registry)
    registry.acquire_lease(token, "a-run", 60)
    registry.request_cancel(token)

    def somebody_else(_: float) -> None:
        registry.acquire_lease(token, "a-run", -1)
        registry.retry(token)

    done = wait_until_cancelled(registry, [token], sleep=somebody_else)[token]
    assert done.error is not None
    assert done.error.code == "state_conflict"
    assert registry.get(token).state is State.PENDING_REPO


def test_a_dagster_that_cannot_be_asked_does_not_matter(registry: Registry, tmp_path: Path) -> None:
    token = add(registry)
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("run_storage: {module: no.such.module, class: X}\n")
    done = cancel(token, "--json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (0, "cancelled")
    assert "queue could not be looked at" in done.stderr
