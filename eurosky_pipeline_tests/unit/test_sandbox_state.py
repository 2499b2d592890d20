"""The sandbox's memory: private, whole, and never mistaken about who runs."""

import json
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.sandbox import state as state_module
from eurosky_pipeline.sandbox.servers import new_pds_secrets
from eurosky_pipeline.sandbox.state import (
    ProcessId,
    SandboxState,
    ServerState,
    allowed_addresses,
    is_running,
    load_state,
    log_path_of,
    sandbox_folder,
    save_state,
)

US = ProcessId(os.getpid(), psutil.Process().create_time())
US_REUSED = ProcessId(US.pid, US.created_at_s - 60)  # our pid, when it was somebody else's


@pytest.fixture
def saved(tmp_path: Path) -> SandboxState:
    folder = sandbox_folder(tmp_path)
    folder.mkdir()
    plc, source, destination = (
        ServerState(name, port, US, log_path_of(folder, name))
        for name, port in (("plc", 20001), ("source", 20002), ("destination", 20003))
    )
    state = SandboxState(folder, plc, source, destination, new_pds_secrets(), new_pds_secrets(), True, 5_000_000)
    save_state(state)
    return state


def test_what_is_saved_is_loaded(saved: SandboxState, tmp_path: Path) -> None:
    assert load_state(tmp_path) == saved
    assert saved.source_pds == "http://localhost:20002"


def test_no_sandbox_is_none_and_allows_nothing(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    assert allowed_addresses(tmp_path) == frozenset()


def test_a_moved_home_stays_valid(saved: SandboxState, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    saved.folder.rename(sandbox_folder(moved))
    loaded = load_state(moved)
    assert loaded is not None
    assert loaded.source.log_path == moved / "sandbox" / "logs" / "source.log"


def test_only_the_owner_can_read_the_file_whatever_the_umask(saved: SandboxState) -> None:
    before = os.umask(0)
    try:
        save_state(saved)
    finally:
        os.umask(before)
    assert (saved.folder / "sandbox.json").stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_a_repr(saved: SandboxState) -> None:
    document = json.loads((saved.folder / "sandbox.json").read_text())
    values = [*document["source_secrets"].values(), *document["destination_secrets"].values()]
    assert len(set(values)) == 8
    for value in values:
        assert value not in repr(saved)
        assert value not in str(saved.source_secrets)


def test_secrets_are_new_each_time_and_the_rotation_key_is_a_k256_key() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    keys = {new_pds_secrets().rotation_key_hex for _ in range(50)}
    assert len(keys) == 50
    assert all(len(key) == 64 and 0 < int(key, 16) < order for key in keys)


def test_a_failed_write_leaves_the_old_state_and_no_rest(
    saved: SandboxState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(state_module.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_state(replace(saved, has_rate_limits=False))
    assert load_state(tmp_path) == saved
    assert [path.name for path in saved.folder.iterdir()] == ["sandbox.json"]


def test_all_three_alive_is_running(saved: SandboxState, tmp_path: Path) -> None:
    assert is_running(saved)
    assert ("localhost", 20001) in allowed_addresses(tmp_path)
    assert {port for _, port in allowed_addresses(tmp_path)} == {20001, 20002, 20003}
    assert {host for host, _ in allowed_addresses(tmp_path)} == {"localhost", "127.0.0.1"}


@pytest.mark.parametrize("process", [US_REUSED, ProcessId(2**22 + 1, 1.0), None], ids=["reused", "gone", "stopped"])
def test_a_pid_that_is_not_the_servers_is_not_running(
    saved: SandboxState, tmp_path: Path, process: ProcessId | None
) -> None:
    changed = replace(saved, source=replace(saved.source, process=process))
    save_state(changed)
    assert not is_running(changed)
    assert {port for _, port in allowed_addresses(tmp_path)} == {20001, 20003}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "plc": {}}'])
def test_a_state_that_cannot_be_read_is_said_without_showing_it(saved: SandboxState, tmp_path: Path, text: str) -> None:
    (saved.folder / "sandbox.json").write_text(text)
    with pytest.raises(SettingsError, match=r"sandbox\.json") as caught:
        load_state(tmp_path)
    assert "--erase" in caught.value.hint


def test_no_secret_is_in_the_traceback_of_a_damaged_file(saved: SandboxState, tmp_path: Path) -> None:
    path = saved.folder / "sandbox.json"
    path.write_text(path.read_text().replace('"admin_password"', '"unknown_field"'))
    with pytest.raises(SettingsError) as caught:
        load_state(tmp_path)
    assert saved.source_secrets.admin_password not in "".join(traceback.format_exception(caught.value))


def test_importing_the_state_is_light() -> None:
    code = "import sys, eurosky_pipeline.sandbox.state; print({'httpx', 'psutil', 'pydantic'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"
