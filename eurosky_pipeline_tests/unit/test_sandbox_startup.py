"""Starting and stopping the sandbox when things go wrong. The servers are played by small Python programs."""

import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from eurosky_pipeline.errors import EuroskyError, SettingsError
from eurosky_pipeline.sandbox import network
from eurosky_pipeline.sandbox.network import down, status, up
from eurosky_pipeline.sandbox.processes import find_processes
from eurosky_pipeline.sandbox.servers import marker, server_environment
from eurosky_pipeline.sandbox.state import SandboxState, ServerState, is_running, load_state, sandbox_folder

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass
port = int(os.environ.get("PLC_PORT") or os.environ["PDS_PORT"])
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
DYING = "print('cannot open the database', flush=True); raise SystemExit(3)"
SILENT = "import time; print('thinking', flush=True); time.sleep(60)"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    play_servers(monkeypatch)
    monkeypatch.setattr(network, "ensure_packages", lambda report: tmp_path)
    home = tmp_path / "home"
    yield home
    down(home, report=print, erase=True)


def play_servers(monkeypatch: pytest.MonkeyPatch, **code_by_name: str) -> None:
    def command(state: SandboxState, server: ServerState, packages: Path) -> list[str]:
        return [sys.executable, "-c", code_by_name.get(server.name, SERVER), marker(state.folder)]

    monkeypatch.setattr(network, "server_command", command)


def left_running(home: Path) -> list[int]:
    return [process.pid for process in find_processes(marker(sandbox_folder(home)))]


def test_up_again_changes_nothing_and_down_again_is_no_error(home: Path) -> None:
    state = up(home, report=print)
    assert up(home, report=print) == state == load_state(home)
    assert all(server.is_healthy for server in status(home))
    assert down(home, report=print) == ("plc", "source", "destination")
    assert left_running(home) == []
    assert [(server.pid, server.is_running) for server in status(home)] == [(None, False)] * 3
    assert down(home, report=print) == ()


def test_nothing_to_stop_is_no_error_and_makes_nothing(tmp_path: Path) -> None:
    assert down(tmp_path / "absent", report=print) == ()
    assert status(tmp_path / "absent") == ()
    assert not (tmp_path / "absent").exists()


def test_ports_and_secrets_stay(home: Path) -> None:
    first = up(home, report=print)
    down(home, report=print)
    second = up(home, report=print)
    assert [server.url for server in second.servers] == [server.url for server in first.servers]
    assert second.source_secrets == first.source_secrets
    down(home, report=print, erase=True)
    assert not sandbox_folder(home).exists()
    assert up(home, report=print).source_secrets != first.source_secrets


def test_one_dead_server_makes_all_start_afresh(home: Path) -> None:
    before = up(home, report=print)
    assert before.source.process is not None
    os.kill(before.source.process.pid, signal.SIGKILL)
    psutil.Process(before.source.process.pid).wait(10)
    assert [server.is_running for server in status(home)] == [True, False, True]
    after = up(home, report=print)
    assert is_running(after)
    assert len(left_running(home)) == 3


def test_an_option_given_anew_restarts_and_one_left_out_stays(home: Path) -> None:
    assert up(home, report=print).has_rate_limits is False
    limited = up(home, report=print, rate_limits=True, blob_upload_limit_bytes=5_000)
    assert server_environment(limited, limited.source)["PDS_RATE_LIMITS_ENABLED"] == "true"
    assert server_environment(limited, limited.source)["PDS_BLOB_UPLOAD_LIMIT"] == "5000"
    assert up(home, report=print) == limited
    assert len(left_running(home)) == 3


def test_a_server_that_dies_stops_the_others_and_shows_its_last_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_servers(monkeypatch, destination=DYING)
    with pytest.raises(EuroskyError, match=r"destination PDS.*ended while it was starting") as caught:
        up(home, report=print)
    assert "cannot open the database" in caught.value.message
    assert str(sandbox_folder(home) / "logs" / "destination.log") in caught.value.hint
    assert left_running(home) == []
    assert [server.pid for server in status(home)] == [None] * 3

    play_servers(monkeypatch)
    assert is_running(up(home, report=print))
    log = (sandbox_folder(home) / "logs" / "destination.log").read_text()
    assert log.splitlines() == ["cannot open the database", "listening"]  # kept, appended to


def test_the_last_words_are_those_of_this_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(home, report=print)
    down(home, report=print)
    play_servers(monkeypatch, source=DYING)
    with pytest.raises(EuroskyError) as caught:
        up(home, report=print)
    assert "listening" not in caught.value.message


def test_a_server_that_never_answers_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_servers(monkeypatch, source=SILENT)
    monkeypatch.setattr(network, "READY_TIMEOUT_S", 1.5)
    with pytest.raises(EuroskyError, match=r"source PDS.*did not answer"):
        up(home, report=print)
    assert left_running(home) == []


def test_ctrl_c_leaves_nothing_running(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []

    def interrupted(*args: object) -> None:
        running.extend(left_running(home))
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "_wait_until_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        up(home, report=print)
    assert len(running) == 3
    assert left_running(home) == []


def test_what_a_killed_start_left_is_found_without_any_state(home: Path) -> None:
    up(home, report=print)
    (sandbox_folder(home) / "sandbox.json").unlink()
    assert len(left_running(home)) == 3
    down(home, report=print)
    assert left_running(home) == []


def test_a_damaged_state_stops_what_runs_and_erase_mends_it(home: Path) -> None:
    up(home, report=print)
    (sandbox_folder(home) / "sandbox.json").write_text("{")
    with pytest.raises(SettingsError, match=r"sandbox\.json"):
        down(home, report=print)
    assert left_running(home) == []
    with pytest.raises(SettingsError):
        up(home, report=print)
    down(home, report=print, erase=True)
    assert is_running(up(home, report=print))


def test_a_stranger_on_our_port_is_named_with_a_way_out(home: Path) -> None:
    state = up(home, report=print)
    down(home, report=print)
    with socket.create_server(("127.0.0.1", state.source.port)):
        with pytest.raises(SettingsError, match=f"port {state.source.port}.*source PDS.*taken by") as caught:
            up(home, report=print)
        assert caught.value.code == "port_taken"
        assert "--erase" in caught.value.hint
    assert left_running(home) == []
    assert up(home, report=print).source.port == state.source.port


def test_a_limit_that_nothing_fits_in_is_refused(home: Path) -> None:
    with pytest.raises(SettingsError, match="at least 1 byte"):
        up(home, report=print, blob_upload_limit_bytes=0)


def test_servers_get_no_more_of_our_environment_than_they_need(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROSKY_VAULT_KEY", "a secret")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    monkeypatch.setenv("NODE_OPTIONS", "--inspect")
    state = up(home, report=print)
    for server in state.servers:
        names = set(server_environment(state, server))
        assert "PATH" in names
        assert not names & {"EUROSKY_VAULT_KEY", "HTTP_PROXY", "NODE_OPTIONS"}


def test_no_secret_is_on_a_command_line(home: Path) -> None:
    state = up(home, report=print)
    from eurosky_pipeline.sandbox.servers import server_command

    words = " ".join(word for server in state.servers for word in server_command(state, server, Path("packages")))
    for secret in (state.source_secrets, state.destination_secrets):
        assert secret.admin_password not in words
        assert secret.jwt_secret not in words
        assert secret.rotation_key_hex not in words
