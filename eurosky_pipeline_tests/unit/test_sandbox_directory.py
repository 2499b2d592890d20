"""Which network an account is looked up in: the sandbox's own for its accounts, the real one for all others."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import psutil
import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.sandbox.directory import directory_for
from eurosky_pipeline.sandbox.servers import new_pds_secrets
from eurosky_pipeline.sandbox.state import (
    ProcessId,
    SandboxState,
    ServerState,
    log_path_of,
    sandbox_folder,
    save_state,
)
from eurosky_pipeline.settings import DEFAULT_PLC_URL, load_settings
from eurosky_pipeline.xrpc.host_policy import HostPolicy

PLC, SOURCE, DESTINATION = (f"http://localhost:{port}" for port in (20001, 20002, 20003))
REAL = "https://pds.bsky.social"
RUNNING = ProcessId(os.getpid(), psutil.Process().create_time())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    for name in ("EUROSKY_PLC_URL", "EUROSKY_ALLOW_PRIVATE_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def sandbox(home: Path, process: ProcessId | None = RUNNING) -> None:
    folder = sandbox_folder(home)
    folder.mkdir()
    servers = (
        ServerState(name, port, process, log_path_of(folder, name))
        for name, port in (("plc", 20001), ("source", 20002), ("destination", 20003))
    )
    save_state(SandboxState(folder, *servers, new_pds_secrets(), new_pds_secrets()))


def directory(pds_url: str | None) -> Directory:
    settings = load_settings()
    return directory_for(settings, httpx.Client(), HostPolicy(settings.is_private_hosts_allowed), pds_url)


def places(pds_url: str | None) -> tuple[str, tuple[str, ...]]:
    found = directory(pds_url)
    return found.plc_url, found.test_pds_urls


@pytest.mark.parametrize(
    ("pds_url", "servers"), [(SOURCE, (SOURCE, DESTINATION)), (DESTINATION, (DESTINATION, SOURCE))]
)
def test_the_sandboxs_accounts_are_known_to_the_sandbox_their_own_server_first(
    home: Path, pds_url: str, servers: tuple[str, ...]
) -> None:
    sandbox(home)
    assert places(pds_url) == (PLC, servers)


@pytest.mark.parametrize("pds_url", [REAL, "http://localhost:20001", None])
def test_a_running_sandbox_is_not_asked_for_other_accounts(home: Path, pds_url: str | None) -> None:
    sandbox(home)
    assert places(pds_url) == (DEFAULT_PLC_URL, ())


def test_without_a_sandbox_the_real_network_is_asked() -> None:
    assert places(SOURCE) == (DEFAULT_PLC_URL, ())


def test_a_sandbox_that_is_down_is_not_looked_up_in_the_real_network(home: Path) -> None:
    sandbox(home, process=None)
    with pytest.raises(SettingsError) as caught:
        directory(SOURCE)
    assert caught.value.code == "sandbox_down"


@pytest.mark.parametrize("pds_url", [SOURCE, REAL])
def test_the_operators_directory_stands_in_for_either(home: Path, monkeypatch, pds_url: str) -> None:
    sandbox(home)
    monkeypatch.setenv("EUROSKY_PLC_URL", "https://plc.bsky.social")
    assert directory(pds_url).plc_url == "https://plc.bsky.social"


def test_where_private_hosts_are_allowed_the_server_given_knows_the_test_handles(monkeypatch) -> None:
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")
    assert places("http://10.0.0.7:2583") == (DEFAULT_PLC_URL, ("http://10.0.0.7:2583",))
    assert places(None) == (DEFAULT_PLC_URL, ())
