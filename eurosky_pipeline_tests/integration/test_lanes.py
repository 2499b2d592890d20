"""Lanes, ceilings and the pause in the real daemon: who begins while others hold all places of bulk, and who waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from eurosky_pipeline.orchestration.instance import INSTANCE_FILE
from eurosky_pipeline.orchestration.lanes import CRITICAL, LANE_TAG
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.integration.command import eurosky
from eurosky_pipeline_tests.integration.dagster_server import DagsterServer, running_up, wait_until
from eurosky_pipeline_tests.stub_pds import Answer, Route, stub_pds

CEILING, PER_DESTINATION = 2, 1
QUIET = "new_migrations,resume_waiting,stuck_migrations,migration_failed"
UNDER_WAY = frozenset({"STARTING", "STARTED"})


class Held(dict[str, Route]):
    """Routes of a server at which every log-in hangs until it is released, and is refused then."""

    def __init__(self, released: threading.Event) -> None:
        super().__init__()
        self.released = released

    def get(self, nsid: str, _default: object = None) -> Route:  # type: ignore[override]
        def answer(_: dict[str, str]) -> Answer:
            if nsid != "com.atproto.server.createSession":
                return Answer.of_json({"error": "InternalServerError"}, 500)
            self.released.wait(300)
            return Answer.of_json({"error": "AuthenticationRequired", "message": "Invalid password"}, 401)

        return answer


@pytest.fixture
def held() -> Iterator[tuple[list[str], threading.Event]]:
    """URLs of a source and of three destinations, at which runs hang, and what lets them end."""
    released = threading.Event()
    with ExitStack() as stack:
        stubs = [stack.enter_context(stub_pds()) for _ in range(4)]
        for stub in stubs:
            stub.routes = Held(released)
        yield [stub.url for stub in stubs], released
        released.set()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = open_registry(Settings(EUROSKY_HOME=tmp_path, _env_file=None))
    yield opened
    opened.close()


def instance_file(home: Path) -> None:
    """The project's, with the numbers of this test: what an operator does."""
    config = yaml.safe_load(INSTANCE_FILE.read_text())
    numbers = {"max_concurrent_runs": CEILING, "max_concurrent_runs_per_destination": PER_DESTINATION}
    config["run_coordinator"]["config"].update(numbers)
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(config))


def test_bulk_fills_its_ceiling_a_critical_run_passes_it_and_in_a_pause_what_runs_ends_and_nothing_begins(
    tmp_path: Path, registry: Registry, held: tuple[list[str], threading.Event]
) -> None:
    (source, *hosts), released = held
    instance_file(tmp_path)
    letters = iter("abcdefghijklmnop")

    def new_token(destination: str) -> str:
        new = NewMigration(f"did:plc:{next(letters) * 24}", source, destination)
        return registry.add(new, {Side.DESTINATION: SecretStr("not the one")}).token

    variables = {"EUROSKY_ALLOW_PRIVATE_hosts": "true", "EUROSKY_PLC_URL": source, "EUROSKY_SENSORS_OFF": QUIET}
    with running_up(tmp_path, **variables) as server:
        bulk = [server.launch(new_token(host)) for host in hosts for _ in range(2)]

        def under_way() -> list[str]:
            return [run_id for run_id in bulk if server.run(run_id).status in UNDER_WAY]

        wait_until(lambda: len(under_way()) == CEILING, 90)
        assert [server.run(run_id).tags["eurosky/destination_pds"] for run_id in under_way()] == hosts[:2]

        began_s, critical = time.monotonic(), server.launch(new_token(hosts[0]), tags={LANE_TAG: CRITICAL})
        wait_until(lambda: server.run(critical).status == "STARTED", 60, interval_s=0.1)
        print(f"a critical run has begun {time.monotonic() - began_s:.1f} s after it was asked for")
        assert len(under_way()) == CEILING
        assert sum(server.run(run_id).status == "QUEUED" for run_id in bulk) == 4
        wait_until(lambda: "eurosky/did" in server.run(critical).tags, 60)
        assert server.run(critical).tags[LANE_TAG] == CRITICAL

        first = [*under_way(), critical]
        registry.pause("the new disk")
        second_critical = server.launch(new_token(hosts[0]), tags={LANE_TAG: CRITICAL})
        released.set()
        drained = eurosky("pause", "--wait", "--json", home=tmp_path)
        assert (drained.exit_code, drained.json["under_way"], drained.json["queued"]) == (0, [], 5), drained.stderr
        _assert_ended_by_themselves(server, registry, first)
        waiting = [second_critical, *(run_id for run_id in bulk if run_id not in first)]
        assert {server.run(run_id).status for run_id in waiting} == {"QUEUED"}

        assert registry.end_pause() is not None
        server.wait_for_runs(waiting, 120)
        _assert_ended_by_themselves(server, registry, waiting)


def _assert_ended_by_themselves(server: DagsterServer, registry: Registry, run_ids: list[str]) -> None:
    """None was stopped: each has had its answer, and has ended by it."""
    assert {server.run(run_id).status for run_id in run_ids} == {"FAILURE"}
    assert {registry.get(server.run(run_id).token).error_code for run_id in run_ids} == {"wrong_password"}
