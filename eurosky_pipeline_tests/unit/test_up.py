"""`eurosky up`: one for an instance, on loopback unless told otherwise, and nothing left when it ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from eurosky_pipeline.cli.up import LOCK_NAME, _alone, _check_free, _is_loopback, _running, _watch, up
from eurosky_pipeline.errors import ConflictError, FatalError, SettingsError
from eurosky_pipeline.registry.vault import new_key

SLEEPS = ["timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(600)"]
ADDRESS = "http://127.0.0.1:1"


def test_a_second_one_on_the_same_instance_is_refused_and_told_where_the_first_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with _alone(tmp_path, "http://127.0.0.1:3999"):
        done = CliRunner().invoke(up, ["--port", "3998"])
    assert isinstance(done.exception, ConflictError)
    assert done.exception.code == "up_running"
    assert f"process {os.getpid()}, http://127.0.0.1:3999" in done.exception.message
    with _alone(tmp_path, ADDRESS):
        pass


def test_what_a_killed_one_has_left_running_still_keeps_others_away(tmp_path: Path) -> None:
    with _alone(tmp_path, ADDRESS) as lock, _running({"daemon": SLEEPS}, lock) as processes:
        pid = processes["daemon"].pid
        descriptor = os.open(tmp_path / LOCK_NAME, os.O_RDONLY)
        os.dup2(descriptor, lock)  # as if this process had gone: only the child holds the lock now
        os.close(descriptor)
        with pytest.raises(ConflictError), _alone(tmp_path, ADDRESS):
            pass
    assert not psutil.pid_exists(pid)
    with _alone(tmp_path, ADDRESS):
        pass


def test_where_one_of_the_two_ends_the_other_is_ended_and_that_is_an_error(tmp_path: Path) -> None:
    commands = {"daemon": SLEEPS, "webserver": ["no_such_module_at_all"]}
    with _alone(tmp_path, ADDRESS) as lock, _running(commands, lock) as processes:
        children = [process.pid for process in processes.values()]
        with pytest.raises(FatalError, match="the Dagster webserver ended with exit code 1") as caught:
            _watch(processes, "127.0.0.1", 1, ADDRESS)
    assert caught.value.code == "dagster_ended"
    assert not any(psutil.pid_exists(pid) for pid in children)


def test_a_second_interruption_while_it_stops_leaves_no_process_and_the_handlers_are_as_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    stubborn = ["timeit", "-n", "1", "-s", "import signal, time; signal.signal(15, signal.SIG_IGN)", "time.sleep(600)"]
    with _alone(tmp_path, ADDRESS) as lock, pytest.MonkeyPatch.context() as patched:
        patched.setattr("eurosky_pipeline.cli.up._STOP_GRACE_S", 1.0)
        with _running({"daemon": stubborn}, lock) as processes:
            time.sleep(0.5)
            patched.setattr("eurosky_pipeline.cli.up.tell", lambda _: os.kill(os.getpid(), signal.SIGINT))
        assert not psutil.pid_exists(processes["daemon"].pid)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_this_machines_own_addresses_go_without_a_warning(host: str, is_loopback: bool) -> None:
    assert _is_loopback(host) is is_loopback


def test_a_port_that_is_taken_and_an_address_that_is_nobodys_are_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="in use") as caught:
        _check_free("127.0.0.1", taken.getsockname()[1])
    assert caught.value.code == "port_taken"
    with pytest.raises(SettingsError, match=r"no-such-host\.invalid"):
        _check_free("no-such-host.invalid", 3999)


def test_a_database_that_is_not_there_is_told_of_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the minute for which what runs by itself would wait."""
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("EUROSKY_DATABASE_URL", "postgresql://mover:x@127.0.0.1:1/movers")
    monkeypatch.setenv("EUROSKY_VAULT_KEY", new_key())
    began_s = time.monotonic()
    done = CliRunner().invoke(up, ["--port", "3997"])
    assert isinstance(done.exception, SettingsError)
    assert done.exception.code == "database_unavailable"
    assert time.monotonic() - began_s < 45
