"""The two servers of a run as its steps are given them: one pace a host, one login a side, and no more of either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import SettingsError, StoppedError
from eurosky_pipeline.orchestration.pds import PdsResource
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.xrpc.client import BYPASS_HEADER
from eurosky_pipeline.xrpc.endpoints import describe_server
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline.xrpc.session import CREATE_SESSION
from eurosky_pipeline_tests.loopback import read_head, serving
from eurosky_pipeline_tests.stub_pds import Answer, StubPds, stub_pds

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
DESCRIBE = "com.atproto.server.describeServer"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    monkeypatch.setenv("EUROSKY_ALLOW_PRIVATE_HOSTS", "true")


@pytest.fixture
def stub() -> Iterator[StubPds]:
    with stub_pds() as stub:
        tokens = {"did": DID, "accessJwt": "a", "refreshJwt": "r"}
        stub.routes[CREATE_SESSION] = lambda _: Answer.of_json(tokens)
        stub.routes[DESCRIBE] = lambda _: Answer.of_json({"did": "did:web:stub.example"})
        yield stub


@pytest.fixture
def pds() -> Iterator[PdsResource]:
    resource: Any = PdsResource()
    resource.setup_for_execution(None)
    yield resource
    resource.teardown_after_execution(None)


def step_of(source: str, destination: str, *passwords: Side) -> Any:
    def password(_token: str, side: Side) -> SecretStr | None:
        return SecretStr("pw") if side in passwords else None

    migration = SimpleNamespace(did=DID, source_pds=source, destination_pds=destination)
    registry = SimpleNamespace(password=password)
    return SimpleNamespace(
        token="EURO-0000", migration=migration, registry=registry, stop=threading.Event(), note=print
    )


def test_both_clients_of_a_host_have_its_one_pace_and_another_host_has_its_own(pds, stub) -> None:
    with stub_pds() as other:
        step = step_of(stub.url, stub.url, Side.DESTINATION)
        source, destination = pds.source(step), pds.destination(step)
        assert source.pace is destination.pace is pds.source(step).pace
        elsewhere = step_of(other.url, stub.url, Side.DESTINATION)
        elsewhere.token = "EURO-0001"
        assert pds.source(elsewhere).pace is not source.pace
        assert pds.destination(elsewhere).pace is source.pace


def test_a_destination_is_logged_in_to_once_a_run_and_a_source_not_before_it_asks(pds, stub) -> None:
    step = step_of(stub.url, stub.url, Side.SOURCE, Side.DESTINATION)
    for _ in range(3):
        describe_server(pds.source(step))
        pds.destination(step)
    assert stub.asked.count(CREATE_SESSION) == 1


def test_a_destination_needs_a_password_and_a_source_does_not(pds, stub) -> None:
    step = step_of(stub.url, stub.url)
    describe_server(pds.source(step))
    with pytest.raises(SettingsError, match="no destination password") as caught:
        pds.destination(step)
    assert f"`eurosky migrations retry {step.token} --destination-password-env VAR`" in caught.value.hint


def test_a_later_step_is_not_stopped_by_the_stop_of_one_before(pds, stub) -> None:
    first = step_of(stub.url, stub.url, Side.SOURCE, Side.DESTINATION)
    before = pds.destination(first)
    first.stop.set()
    second = step_of(stub.url, stub.url, Side.SOURCE, Side.DESTINATION)
    with pytest.raises(StoppedError):
        describe_server(before)
    describe_server(pds.destination(second))
    stub.routes[DESCRIBE] = lambda _: Answer.of_json({"error": "AuthenticationRequired"}, 401)
    asking = pds.source(second)
    stub.routes[CREATE_SESSION] = lambda _: (
        stub.routes.pop(DESCRIBE) and Answer.of_json({"did": DID, "accessJwt": "b", "refreshJwt": "r"})
    )
    with pytest.raises(Exception, match="501"):
        describe_server(asking)  # it has logged in, with its own step's stop
    assert stub.asked.count(CREATE_SESSION) == 2


def test_a_key_goes_to_its_host_and_to_no_other(monkeypatch: pytest.MonkeyPatch, stub: StubPds) -> None:
    heads: dict[str, str] = {}

    def seeing(name: str):
        def handle(connection) -> None:
            heads[name] = read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return handle

    with serving(seeing("source")) as source, serving(seeing("destination")) as destination:
        monkeypatch.setenv("EUROSKY_RATE_LIMIT_BYPASS", f"127.0.0.1:{source.port}=s3cret-key")
        pds: Any = PdsResource()
        pds.setup_for_execution(None)
        step = step_of(source.url, destination.url)
        pds.source(step).head("a.b.c", {})
        step.migration.source_pds, step.token = destination.url, "EURO-0001"
        pds.source(step).head("a.b.c", {})
        pds.teardown_after_execution(None)
    assert f"{BYPASS_HEADER}: s3cret-key" in heads["source"]
    assert BYPASS_HEADER not in heads["destination"]
    assert "s3cret" not in f"{pds!r}{pds.model_dump()}"


def test_a_limit_longer_than_may_be_waited_for_is_told_with_its_end(pds, stub) -> None:
    step = step_of(stub.url, stub.url)
    pace = pds.source(step).pace
    with pace.turn(DESCRIBE, step.stop) as turn:
        turn.heed(429, {"retry-after": "80000"})
    with pytest.raises(RateLimited) as caught:
        describe_server(pds.source(step))
    assert caught.value.retry_after_s > 79_000
