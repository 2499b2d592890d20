"""What the commands say of a migration that waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from eurosky_pipeline.cli.migrate import _print_outcomes
from eurosky_pipeline.cli.migrations import migrations
from eurosky_pipeline.cli.run_outcome import EXIT_DONE, EXIT_FAILED, EXIT_PARTIAL, EXIT_WAITING, Outcome, severity
from eurosky_pipeline.registry.migration import Migration, NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.errors import RateLimited

NOON = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
SPELLED = "2026-03-01T12:00:00+00:00"
REASON = "new.example allows no more of com.atproto.repo.uploadBlob for 3600 s"


@pytest.fixture
def registry(settings_in_environment: Settings) -> Iterator[Registry]:
    opened = open_registry(settings_in_environment)
    yield opened
    opened.close()


@pytest.fixture
def waiting(registry: Registry) -> Migration:
    registry.add(NewMigration("did:web:b.example", "https://old.example", "https://new.example"), {})
    token = registry.add(NewMigration("did:web:a.example", "https://old.example", "https://new.example"), {}).token
    assert registry.wait(token, NOON, RateLimited(REASON))
    return registry.get(token)


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(migrations, arguments)
    assert done.exit_code == 0, done.output
    return done


def test_the_list_of_those_that_wait_says_until_when(waiting: Migration) -> None:
    (row,) = json.loads(run("list", "--state", "waiting", "--json").stdout)
    assert (row["token"], row["state"], row["resume_at"]) == (waiting.token, "waiting", SPELLED)
    everyone = json.loads(run("list", "--json").stdout)
    assert [row["resume_at"] for row in everyone] == [None, SPELLED]
    assert f"waiting until {SPELLED}" in run("list").stdout.replace("│", " ")


def test_one_that_waits_is_shown_with_its_moment_and_reason(waiting: Migration) -> None:
    shown = json.loads(run("show", waiting.token, "--json").stdout)
    assert (shown["state"], shown["resume_at"], shown["stopped_in"]) == ("waiting", SPELLED, "pending_repo")
    assert shown["error"] == {"code": "rate_limited", "text": REASON}
    assert SPELLED in run("show", waiting.token).stdout


@pytest.mark.parametrize(("command", "state"), [("retry", "pending_repo"), ("cancel", "cancelled")])
def test_a_person_may_end_the_wait_before_its_time(
    registry: Registry, waiting: Migration, command: str, state: str
) -> None:
    assert json.loads(run(command, waiting.token, "--json").stdout) == {"token": waiting.token, "state": state}
    assert registry.get(waiting.token).resume_at is None


def outcome(exit_code: int) -> Outcome:
    return Outcome(
        token="EURO-1",
        did="did:web:a.example",
        state="waiting",
        resume_at=SPELLED,
        run_id="r",
        blobs="2/6",
        reconciliation_status="",
        failed_blobs=0,
        error_code="rate_limited",
        error=REASON,
        warnings=(),
        exit_code=exit_code,
    )


def test_a_run_that_ends_in_waiting_says_for_whom_until_when_and_what_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _print_outcomes([outcome(EXIT_WAITING)])
    said = capsys.readouterr().err
    for part in ("EURO-1: waits until", SPELLED, "new.example", "resume_waiting", "eurosky migrate EURO-1"):
        assert part in said
    _print_outcomes([replace(outcome(EXIT_FAILED), resume_at=None)])
    assert "waits until" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [("EURO-1 is cancelled", "EURO-1 is cancelled [x]\n"), ("it broke", "EURO-1: it broke [x]\n")],
)
def test_an_error_names_its_migration_once(error: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    _print_outcomes([replace(outcome(EXIT_FAILED), error=error, error_code="x")])
    assert capsys.readouterr().err == said


def test_of_several_runs_the_worst_end_is_the_exit_code() -> None:
    assert EXIT_WAITING == 4
    assert sorted([EXIT_FAILED, EXIT_DONE, EXIT_WAITING, EXIT_PARTIAL], key=severity) == [
        EXIT_DONE,
        EXIT_PARTIAL,
        EXIT_WAITING,
        EXIT_FAILED,
    ]
