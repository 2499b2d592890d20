"""`eurosky pause` and `eurosky resume`: what they say, what they wait for, and who refuses to start meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from eurosky_pipeline.cli import migrate as migrate_module
from eurosky_pipeline.cli.demo import demo
from eurosky_pipeline.cli.migrate import migrate
from eurosky_pipeline.cli.pause import LOOK_S, QUIET_LOOKS, TELL_S, Seen, look, pause, resume, wait_until_quiet
from eurosky_pipeline.cli.run_outcome import Outcome
from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
from eurosky_pipeline.orchestration.run_queue import DAEMON_SILENCE_S, UnderWay
from eurosky_pipeline.orchestration.workers import worker_tag
from eurosky_pipeline.registry.controls import Controls
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.pause import Pause, PausedError
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.settings import load_settings

RUN = UnderWay("run-1", "migrate_account", "EURO-1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return tmp_path


@pytest.fixture
def registry() -> Iterator[Registry]:
    opened = open_registry(load_settings())
    yield opened
    opened.close()


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def new_token(registry: Registry, letter: str = "a") -> str:
    return registry.add(NewMigration("did:plc:" + letter * 24, "https://o.example", "https://n.example"), {}).token


def test_a_pause_says_since_when_why_and_what_is_under_way(registry: Registry) -> None:
    prepare_instance(load_settings())
    with open_instance() as instance:
        tags = {"dagster/partition": "EURO-1", **worker_tag()}
        of_us = create_run_for_test(instance, "migrate_account", status=DagsterRunStatus.STARTED, tags=tags)
        gone = {**tags, "eurosky/worker": json.dumps({**json.loads(tags["eurosky/worker"]), "started": 1})}
        create_run_for_test(instance, "migrate_account", status=DagsterRunStatus.STARTED, tags=gone)
    done = run(pause, "--note", "the new disk", "--json")
    assert done.exit_code == 0, done.output
    found = registry.paused()
    assert found is not None
    assert json.loads(done.stdout) == {
        "paused": True,
        "since": found.since.isoformat(timespec="seconds"),
        "note": "the new disk",
        "under_way": [{"run_id": of_us.run_id, "job": "migrate_account", "token": "EURO-1"}],
        "queued": 0,
    }
    assert "the new disk" in done.stderr
    assert "eurosky resume" in done.stderr
    assert "warning" not in done.stderr


def test_resume_ends_it_and_says_what_it_was(registry: Registry) -> None:
    assert json.loads(run(resume, "--json").stdout) == {"paused": False, "was_paused": False, "since": None, "note": ""}
    assert run(resume).stdout == "nothing was paused\n"
    registry.pause("the new disk")
    assert "the new disk" in run(resume).stdout
    assert registry.paused() is None


def test_where_the_queue_is_another_ones_the_command_says_that_it_goes_on(home: Path, registry: Registry) -> None:
    prepare_instance(load_settings())
    (home / "dagster" / "dagster.yaml").write_text("concurrency:\n  runs:\n    max_concurrent_runs: 3\n")
    done = run(pause)
    assert done.exit_code == 0
    assert "warning: the queue" in done.stderr
    assert registry.paused() is not None


def test_the_daemon_may_be_launching_until_it_has_seen_the_pause_or_is_gone(registry: Registry) -> None:
    prepare_instance(load_settings())
    controls, begun = Controls(registry._engine), registry.pause()
    with open_instance() as instance:
        assert look(instance, controls) == Seen(begun, ())

        def beat(seconds_ago: float) -> None:
            import time

            when = time.time() - seconds_ago
            instance.add_daemon_heartbeat(DaemonHeartbeat(when, "QUEUED_RUN_COORDINATOR", "daemon", []))

        beat(DAEMON_SILENCE_S + 10)
        assert look(instance, controls).is_quiet
        beat(1)
        assert look(instance, controls).is_launching
        controls.see(begun)
        assert look(instance, controls).is_quiet


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def waited(looks: list[Seen], begun: Pause) -> tuple[Seen, float]:
    """What it comes to, and after how long; one look is left over at most if it is the last that counts."""
    clock, rest = Clock(), iter(looks)
    seen = wait_until_quiet(lambda: next(rest), begun, clock=clock, sleep=clock.sleep)
    assert list(rest) == []
    return seen, clock.now_s


@pytest.fixture
def begun(registry: Registry) -> Pause:
    return registry.pause()


def test_waiting_ends_when_nothing_is_under_way_several_looks_in_a_row(begun: Pause) -> None:
    quiet, busy, launching = Seen(begun, ()), Seen(begun, (RUN,)), Seen(begun, (), is_launching=True)
    looks = [busy, quiet, quiet, launching, quiet, busy, *[quiet] * QUIET_LOOKS]
    assert waited(looks, begun) == (quiet, (len(looks) - 1) * LOOK_S)


def test_what_is_waited_for_is_told_when_it_changes_and_every_few_seconds(
    begun: Pause, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet, busy = Seen(begun, ()), Seen(begun, (RUN,))
    busier = Seen(begun, tuple(UnderWay(f"run-{n}", "migrate_account", f"EURO-{n}") for n in range(9)))
    rounds = int(TELL_S / LOOK_S)
    waited([busier, *[busy] * 2 * rounds, *[quiet] * QUIET_LOOKS], begun)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("9 runs under way: EURO-0, EURO-1, EURO-2, EURO-3, EURO-4 …")
    assert lines[1:] == ["waiting: 1 runs under way: EURO-1"] * 2


def test_somebody_who_resumes_ends_the_waiting_too(begun: Pause, registry: Registry) -> None:
    registry.end_pause()
    for now in (None, registry.pause()):
        with pytest.raises(ConflictError) as caught:
            waited([Seen(begun, (RUN,)), Seen(now, ())], begun)
        assert caught.value.code == "pause_ended"


def test_ctrl_c_ends_the_waiting_and_not_the_pause(begun: Pause, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_until_quiet(lambda: Seen(begun, (RUN,)), begun, sleep=interrupted)
    assert "the pause stays" in capsys.readouterr().err


def test_migrate_and_demo_refuse_and_change_nothing(registry: Registry, home: Path) -> None:
    token = new_token(registry)
    registry.request_cancel(token)
    registry.pause("the new disk")
    for command, arguments in ((migrate, [token]), (demo, [])):
        refused = run(command, *arguments)
        assert isinstance(refused.exception, PausedError)
        assert "the new disk" in str(refused.exception)
    assert registry.get(token).state is State.CANCELLED, "it is not taken up"
    assert not (home / "sandbox").exists()


def test_of_a_list_those_whose_turn_had_not_come_are_told_as_not_begun(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [new_token(registry, letter) for letter in "abc"]
    begun: list[str] = []

    def one_run(token: str, opened: Registry) -> Outcome:
        opened.require_not_paused()
        begun.append(token)
        opened.pause("in the middle")
        return Outcome(token, "", "pending_prefs", None, "run-1", "0/0", "complete", 0, "", "", (), 0)

    monkeypatch.setattr(migrate_module, "run_migration", one_run)
    done = run(migrate, *tokens, "--json")
    assert done.exit_code == 1
    assert begun == tokens[:1]
    outcomes = json.loads(done.stdout)
    assert [(each["token"], each["error_code"], each["run_id"]) for each in outcomes] == [
        (tokens[0], "", "run-1"),
        (tokens[1], "paused", ""),
        (tokens[2], "paused", ""),
    ]
    assert all("not begun" in each["error"] and "in the middle" in each["error"] for each in outcomes[1:])
    assert [registry.get(token).state for token in tokens] == [State.PENDING_REPO] * 3


def test_a_pause_that_comes_while_a_run_is_prepared_keeps_it_from_beginning(registry: Registry) -> None:
    token = new_token(registry)
    prepare_instance(load_settings())
    registry.pause()
    with pytest.raises(PausedError):
        migrate_module.run_migration(token, registry)
    with open_instance() as instance:
        assert instance.get_runs_count() == 0
    assert registry.get(token).attempts == 0
