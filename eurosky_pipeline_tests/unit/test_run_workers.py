"""A run's tag names one process; what is said of that process is said only where it is certain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eurosky_pipeline.orchestration import workers
from eurosky_pipeline.orchestration.workers import WORKER_TAG, interrupt, is_gone, worker_of, worker_tag

TAG_OF_ITSELF = """
import sys, signal
from eurosky_pipeline.orchestration.workers import worker_tag
signal.signal(signal.SIGINT, lambda *_: sys.exit(42))
print(worker_tag()["eurosky/worker"], flush=True)
signal.pause()
"""


@pytest.fixture
def other() -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Another process, with its tag."""
    process = subprocess.Popen([sys.executable, "-c", TAG_OF_ITSELF], stdout=subprocess.PIPE, text=True)
    yield process, {WORKER_TAG: process.stdout.readline()}
    process.kill()
    process.wait()
    process.stdout.close()


def changed(tags: dict[str, str], **fields: object) -> dict[str, str]:
    return {WORKER_TAG: json.dumps({**json.loads(tags[WORKER_TAG]), **fields})}


def test_the_process_that_asks_is_there() -> None:
    assert is_gone(worker_tag()) is False
    assert worker_of(worker_tag()).pid == os.getpid()


def test_one_that_was_killed_is_gone_before_and_after_its_parent_has_looked(other) -> None:
    process, tags = other
    assert is_gone(tags) is False
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie, until it is waited for
    assert is_gone(tags) is True
    process.wait()
    assert is_gone(tags) is True


def test_another_process_with_the_same_pid_is_not_it() -> None:
    tags = worker_tag()
    assert is_gone(changed(tags, started=worker_of(tags).started - 1)) is True
    assert interrupt(changed(tags, started=worker_of(tags).started - 1)) is False


@pytest.mark.parametrize("part", ["hostname", "boot", "container"])
def test_of_another_machine_boot_or_container_nothing_is_said(
    part: str, monkeypatch: pytest.MonkeyPatch, other
) -> None:
    process, tags = other
    process.kill()
    process.wait()
    if part == "hostname":
        monkeypatch.setattr(workers.socket, "gethostname", lambda: "another")
    elif part == "boot":
        monkeypatch.setattr(Path, "read_text", lambda *_: "another")
    else:
        monkeypatch.setattr(Path, "readlink", lambda *_: Path("pid:[1]"))
    assert is_gone(tags) is None
    assert interrupt(tags) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        "7",
        "null",
        '{"host":"a","pid":0,"started":1}',
        '{"host":"a","pid":true,"started":1}',
        '{"host":1,"pid":5,"started":1}',
        '{"host":"a","pid":-1,"started":1}',
        '{"host":"a","pid":5,"started":"1"}',
        '{"host":"a","pid":5.5,"started":1}',
        '{"host":"a","pid":99999999999,"started":1}',
        "[" * 299,
    ],
)
def test_a_tag_that_is_not_ours_names_nobody(text: str) -> None:
    assert (worker_of({WORKER_TAG: text}), is_gone({WORKER_TAG: text})) == (None, None)
    assert is_gone({}) is None


def test_what_may_not_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object) -> str:
        raise FileNotFoundError

    tags = worker_tag()
    monkeypatch.setattr(workers, "_stat", hidden)
    assert is_gone(tags) is None
    assert interrupt(tags) is False


def test_an_interruption_reaches_the_process_that_is_meant(other) -> None:
    process, tags = other
    assert interrupt(tags)
    assert process.wait(30) == 42
    assert not interrupt(tags)


def test_without_a_proc_file_system_the_clock_tells_starts_apart(tmp_path: Path, monkeypatch, other) -> None:
    process, _ = other
    monkeypatch.setattr(workers, "_PROC", tmp_path / "none")
    host, started = workers.this_host(), workers._started(process.pid)
    tags = {WORKER_TAG: json.dumps({"host": host, "pid": process.pid, "started": started})}
    assert is_gone(tags) is False
    assert is_gone(changed(tags, started=started - 3600)) is True
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(tags) is True
