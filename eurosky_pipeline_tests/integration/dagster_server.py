"""The real webserver and daemon, `eurosky up`, and GraphQL to it as the browser speaks it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from eurosky_pipeline_tests.integration.command import EUROSKY, environment

REPOSITORY = {"repositoryLocationName": "eurosky_pipeline", "repositoryName": "__repository__"}
PARTITIONS = "migrations"
JOB = "migrate_account"
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

_ADD_PARTITION = """
mutation ($name: String!, $key: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionsDefName: $name, partitionKey: $key, repositorySelector: $repository) { __typename }
}
"""
_LAUNCH = """
mutation ($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {selector: $selector, mode: "default", executionMetadata: {tags: $tags}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
_BACKFILL = """
mutation ($wanted: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $wanted) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
_RUN_FIELDS = """
runId jobName status creationTime startTime endTime tags { key value } stepStats { stepKey status }
"""
_RUN = f"query ($id: ID!) {{ runOrError(runId: $id) {{ ... on Run {{ {_RUN_FIELDS} }} }} }}"
_RUNS = f"""
query ($filter: RunsFilter!) {{ runsOrError(filter: $filter) {{ ... on Runs {{ results {{ {_RUN_FIELDS} }} }} }} }}
"""
_BACKFILL_STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status error { message } } }
}
"""
_TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run as the UI shows it. Times are seconds since the epoch, None where it has not come so far."""

    run_id: str
    job: str
    status: str
    created_s: float
    started_s: float | None
    ended_s: float | None
    tags: Mapping[str, str]
    steps: Mapping[str, str]
    """Each step's status, of those that have begun."""

    @property
    def token(self) -> str:
        return self.tags["dagster/partition"]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> RunSeen:
        return cls(
            run["runId"],
            run["jobName"],
            run["status"],
            run["creationTime"],
            run["startTime"],
            run["endTime"],
            {tag["key"]: tag["value"] for tag in run["tags"]},
            {step["stepKey"]: step["status"] for step in run["stepStats"]},
        )


@dataclass(frozen=True, slots=True)
class DagsterServer:
    """A running `eurosky up`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The answer's data; an answer with errors is a test's failure."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables}, timeout=120
        ).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def add_partitions(self, tokens: Iterable[str]) -> None:
        for token in tokens:
            self.ask(_ADD_PARTITION, name=PARTITIONS, key=token, repository=REPOSITORY)

    def launch(self, token: str, *, job: str = JOB, tags: Mapping[str, str] | None = None) -> str:
        """The id of a run of the job for one migration, launched as the UI launches it."""
        self.add_partitions([token])
        wanted = {"dagster/partition": token, **(tags or {})}
        listed = [{"key": key, "value": value} for key, value in wanted.items()]
        launched = self.ask(_LAUNCH, selector={**REPOSITORY, "pipelineName": job}, tags=listed)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, tokens: Iterable[str], assets: Iterable[str] = ()) -> str:
        """The id of a backfill of these migrations: of these assets, or, without any, of the job, from its page."""
        chosen = list(tokens)
        self.add_partitions(chosen)
        wanted: dict[str, Any] = {"partitionNames": chosen}
        paths = [{"path": [asset]} for asset in assets]
        if paths:
            wanted["assetSelection"] = paths
        else:
            wanted["selector"] = {"partitionSetName": f"{JOB}_partition_set", "repositorySelector": REPOSITORY}
        begun = self.ask(_BACKFILL, wanted=wanted)["launchPartitionBackfill"]
        assert begun["__typename"] == "LaunchBackfillSuccess", begun
        return str(begun["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        return str(self.ask(_BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["status"])

    def run(self, run_id: str) -> RunSeen:
        return RunSeen.of(self.ask(_RUN, id=run_id)["runOrError"])

    def runs(self, **tags: str) -> list[RunSeen]:
        """Those with these tags, the newest first; `dagster/backfill` is written `dagster__backfill`."""
        listed = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        found = self.ask(_RUNS, filter={"tags": listed})["runsOrError"]["results"]
        return [RunSeen.of(run) for run in found]

    def terminate(self, run_id: str) -> None:
        self.ask(_TERMINATE, id=run_id)

    def processes(self) -> list[psutil.Process]:
        """It, and all that it has started and that still run."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def wait_for_runs(self, run_ids: Iterable[str], timeout_s: float) -> list[RunSeen]:
        """These runs, when all have ended in whatever way."""
        wanted = list(run_ids)
        wait_until(lambda: all(self.run(run_id).status in ENDED for run_id in wanted), timeout_s)
        return [self.run(run_id) for run_id in wanted]


@contextmanager
def running_up(home: Path, *, log_name: str = "up.log", **variables: str) -> Iterator[DagsterServer]:
    """`eurosky up` on this home, with these settings, until the block ends: then it is stopped as a service manager
    does it, and nothing that it has started may be left."""
    port = free_port()
    path = home / log_name
    with path.open("w") as log:
        process = subprocess.Popen(
            [EUROSKY, "up", "--port", str(port)], env=environment(home, **variables), cwd=home, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: process.poll() is not None or "Dagster UI" in path.read_text(), 120)
        assert process.poll() is None, path.read_text()[-4000:]
        yield DagsterServer(process, port, path)
    finally:
        children: list[psutil.Process] = []
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()  # SIGINT is tested with `migrate`
        exit_code = process.wait(60)
    _, left = psutil.wait_procs(children, timeout=20)
    assert exit_code == 0, path.read_text()[-4000:]
    assert children
    assert left == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_until(is_true: Callable[[], bool], timeout_s: float, interval_s: float = 0.5) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(interval_s)
