"""Starting and ending processes that outlive us; the processes here are small Python programs."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from eurosky_pipeline.sandbox.ports import choose_ports, holder_of, is_free
from eurosky_pipeline.sandbox.processes import (
    find_processes,
    is_alive,
    last_lines,
    run_process,
    start_process,
    stop_processes,
)
from eurosky_pipeline.sandbox.state import ProcessId

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


def parent_of(code: str) -> str:
    start_child = f"subprocess.Popen([sys.executable, '-c', {code!r}])"
    return f"import subprocess, sys, time; {start_child}; time.sleep(60)"


def start(tmp_path: Path, code: str, *arguments: str) -> ProcessId:
    """Run `code`, and wait until it has said that it is ready."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", code, *arguments]
    process = start_process(command, env=dict(os.environ), cwd=tmp_path, log_path=log)
    deadline = time.monotonic() + 20
    while "ready" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return process


def test_a_started_process_is_alive_until_it_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    assert is_alive(process)
    assert stop_processes([process]) == [process.pid]
    assert not psutil.pid_exists(process.pid)
    assert stop_processes([process]) == []


def test_it_is_out_of_reach_of_our_terminal(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        stop_processes([process])


def test_descendants_are_stopped_and_sigterm_cannot_be_ignored(tmp_path: Path) -> None:
    process = start(tmp_path, parent_of(STUBBORN))
    (child,) = psutil.Process(process.pid).children()
    stop_processes([process], grace_s=0.2)
    assert not psutil.pid_exists(process.pid)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # nobody's child: init reaps it


def test_a_stranger_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    try:
        stale = ProcessId(process.pid, process.created_at_s - 60)
        assert not is_alive(stale)
        assert stop_processes([stale]) == []
        assert is_alive(process)
    finally:
        stop_processes([process])


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not is_alive(process)
    stop_processes([process])
    assert not psutil.pid_exists(process.pid)  # reaped


def test_strays_are_found_by_their_marker_as_a_whole_argument(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP, f"--mark={tmp_path}")
    try:
        assert [found.pid for found in find_processes(f"--mark={tmp_path}")] == [process.pid]
        assert find_processes("--mark=") == []
    finally:
        stop_processes([process])


def test_run_to_the_end_gives_the_exit_code_and_keeps_the_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "print('hello'); raise SystemExit(7)"]
    assert run_process(command, env={}, cwd=tmp_path, log_path=log, timeout_s=20) == 7
    assert log.read_text() == "hello\n"


def test_run_for_too_long_ends_the_whole_family(tmp_path: Path) -> None:
    command = [sys.executable, "-c", parent_of(SLEEP), f"--mark={tmp_path}"]
    log = tmp_path / "log"
    assert run_process(command, env=dict(os.environ), cwd=tmp_path, log_path=log, timeout_s=1) is None
    assert find_processes(f"--mark={tmp_path}") == []


def test_last_lines_are_the_last_and_none_from_an_earlier_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" + "".join(f"line {n}\n" for n in range(100)))
    assert last_lines(log, count=2) == "    line 98\n    line 99"
    assert "old" not in last_lines(log, count=1000, start_byte=4)
    assert last_lines(log, start_byte=log.stat().st_size) == "    (nothing)"
    assert last_lines(tmp_path / "absent") == "    (nothing)"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_anybody_on_loopback_listens_on_is_not_free(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} on this machine")
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port)
        assert f"(process {os.getpid()})" in holder_of(port)
    assert is_free(port)


def test_chosen_ports_are_different_and_free() -> None:
    ports = choose_ports(20)
    assert len(set(ports)) == 20
    assert all(map(is_free, ports))
