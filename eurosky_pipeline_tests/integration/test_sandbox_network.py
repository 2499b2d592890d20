"""The sandbox with the real servers: what is promised of up, status and down, and of what stays in between."""

import time
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.sandbox.network import down, status, up
from eurosky_pipeline.sandbox.processes import find_processes
from eurosky_pipeline.sandbox.servers import marker
from eurosky_pipeline.sandbox.state import SandboxState, allowed_addresses, sandbox_folder
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.xrpc.client import XrpcClient, new_http_client
from eurosky_pipeline.xrpc.errors import AuthError, RateLimited
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline.xrpc.pacing import HostPace
from eurosky_pipeline.xrpc.session import log_in as log_in_by_did

MB = 1024 * 1024


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    down(tmp_path, report=print)
    assert find_processes(marker(sandbox_folder(tmp_path))) == []


def pids(state: SandboxState) -> list[int]:
    return [server.process.pid for server in state.servers if server.process is not None]


def post(url: str, json: dict[str, object]) -> dict[str, str]:
    answer = httpx.post(url, json=json, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def create_account(state: SandboxState) -> dict[str, str]:
    account = {"handle": "alice.test", "email": "alice@example.com", "password": "correct horse"}
    return post(f"{state.source_pds}/xrpc/com.atproto.server.createAccount", dict(account))


def log_in(state: SandboxState) -> dict[str, str]:
    credentials = {"identifier": "alice.test", "password": "correct horse"}
    return post(f"{state.source_pds}/xrpc/com.atproto.server.createSession", dict(credentials))


def plc_endpoint(state: SandboxState, did: str) -> str:
    document = httpx.get(f"{state.plc_url}/{did}", trust_env=False).json()
    return document["service"][0]["serviceEndpoint"]


def test_up_status_down_and_up_again_with_the_accounts(home: Path) -> None:
    state = up(home, report=print)
    assert all(server.is_healthy for server in status(home))
    # strays would be known by their marker: the real servers carry it, too
    assert sorted(process.pid for process in find_processes(marker(sandbox_folder(home)))) == sorted(pids(state))
    for pds in (state.source, state.destination):
        description = httpx.get(f"{pds.url}/xrpc/com.atproto.server.describeServer", trust_env=False).json()
        assert description["did"] == f"did:web:localhost%3A{pds.port}"
        assert description["availableUserDomains"] == [".test"]
        assert description["inviteCodeRequired"] is False
        assert description["blobUploadLimit"] == 100 * MB
    assert ("localhost", state.source.port) in allowed_addresses(home)

    started_s = time.monotonic()
    assert up(home, report=print) == state  # with the processes that it had
    assert time.monotonic() - started_s < 10

    account = create_account(state)
    assert plc_endpoint(state, account["did"]) == state.source_pds

    assert down(home, report=print) == ("plc", "source", "destination")
    assert not any(map(psutil.pid_exists, pids(state)))
    assert allowed_addresses(home) == frozenset()
    assert [(server.is_running, server.is_healthy) for server in status(home)] == [(False, False)] * 3

    again = up(home, report=print)
    assert not set(pids(again)) & set(pids(state))
    assert again.source_pds == state.source_pds
    assert plc_endpoint(again, account["did"]) == state.source_pds
    assert log_in(again)["did"] == account["did"]
    log = state.source.log_path.read_text()
    assert log.count("PDS listening") == 2
    assert log.count("PDS stopped") == 1  # it was asked, not killed


def test_the_servers_listen_on_loopback_only(home: Path) -> None:
    state = up(home, report=print)
    for pid in pids(state):
        listening = [c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]


def test_rate_limits_are_the_real_ones_and_can_be_bypassed(home: Path) -> None:
    state = up(home, report=print, rate_limits=True, blob_upload_limit_bytes=5 * MB)
    url = f"{state.source_pds}/xrpc/com.atproto.server.describeServer"
    answer = httpx.get(url, trust_env=False)
    assert answer.headers["ratelimit-limit"] == "3000"
    assert answer.json()["blobUploadLimit"] == 5 * MB
    bypass = {"x-ratelimit-bypass": state.source_secrets.rate_limit_bypass_key}
    assert "ratelimit-limit" not in httpx.get(url, headers=bypass, trust_env=False).headers
    assert_a_configured_key_lifts_them_and_without_it_the_pace_keeps_to_them(state)


def assert_a_configured_key_lifts_them_and_without_it_the_pace_keeps_to_them(state: SandboxState) -> None:
    """30 logins in five minutes are allowed; the 31st is not even asked for, and with the key none is one too many."""
    address = f"localhost:{state.source.port}"
    settings = Settings(EUROSKY_RATE_LIMIT_BYPASS=f"{address}={state.source_secrets.rate_limit_bypass_key}")

    def refusals(key: SecretStr | None) -> list[type[EuroskyError]]:
        with new_http_client(5, HostPolicy(is_private_allowed=True)) as http:
            pace = HostPace(address, max_wait_s=0)
            client = XrpcClient(http, state.source_pds, pace=pace, bypass=key)
            return [type(_login_error(client)) for _ in range(32)]

    assert refusals(settings.bypass_key(state.source_pds)) == [AuthError] * 32
    assert settings.bypass_key(state.destination_pds) is None
    assert refusals(None) == [AuthError] * 30 + [RateLimited] * 2


def _login_error(client: XrpcClient) -> EuroskyError:
    with pytest.raises(EuroskyError) as caught:
        log_in_by_did(client, "did:plc:ewvi7nxzyoun6zhxrhs64oiz", SecretStr("not it"))
    return caught.value
