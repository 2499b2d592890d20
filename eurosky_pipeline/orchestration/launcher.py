"""Dagster's run launcher: each run is a process, forked from a warm one (`run_server`) instead of started anew.

Named in `dagster.yaml`. The daemon, which takes runs from the queue, has one warm process, started at its first run; so
has whoever else launches. `docs/adr/0011` says why. Which process a run is in stands in its tags (`workers`): so any
process of this machine can end it, and see whether it is still there.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from dagster import DagsterInstance, DagsterRun
from dagster._config.config_schema import UserConfigSchema
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from eurosky_pipeline.orchestration.workers import WORKER_TAG, interrupt, is_gone, worker_of

_START_WAIT_S = 120.0
_ANSWER_WAIT_S = 60.0
_END_WAIT_S = 5.0
_CLAIM_WAIT_S = 10.0
_MAX_ANSWER_BYTES = 4096
_SERVER = ("-m", "eurosky_pipeline.orchestration.run_server")


class WarmRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """Stands in `dagster.yaml`; threads may share it."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._server: _Server | None = None
        self._lock = threading.Lock()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Raises: DagsterLaunchFailedError where no process could be made; the run is failed then."""
        run_id = context.dagster_run.run_id
        request = {"run_id": run_id, "instance": serialize_value(self._instance.get_ref())}
        with self._lock:
            try:
                self._ask(request)
            except OSError as error:
                self._drop()
                raise _failed(f"the process that runs are forked from does not answer: {error}") from None

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run, as Ctrl-C would. False where its process has ended, or is on another machine."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        deadline_s = time.monotonic() + _CLAIM_WAIT_S
        while run is not None and not run.is_finished:
            if WORKER_TAG in run.tags:
                return interrupt(run.tags)
            if time.monotonic() > deadline_s:
                self._instance.report_engine_event("No process says that it works on this run.", run)
                return False
            time.sleep(0.2)  # forked a moment ago: it claims the run, or finds that it is to end
            run = self._instance.get_run_by_id(run_id)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND, which fails the run, only where the process is certain to have ended. Where that cannot be told,
        the run is let go on: its lease says more."""
        worker = worker_of(run.tags)
        name = "of no known process" if worker is None else f"process {worker.pid}"
        gone = is_gone(run.tags)
        if gone:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"{name} has ended without a word", run_worker_id=name)
        return CheckRunHealthResult(WorkerStatus.RUNNING, name if gone is False else f"{name}: it cannot be looked at")

    def dispose(self) -> None:
        with self._lock:
            self._drop()

    def _ask(self, request: dict[str, str]) -> None:
        if self._server is None or self._server.has_ended:
            self._drop()
            self._server = _Server()
        answer = self._server.ask(request)
        if "error" in answer:
            raise _failed(answer["error"])

    def _drop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


class _Server:
    """The warm process, ready for requests. It has nothing open of ours but its end of the socket."""

    def __init__(self) -> None:
        """Raises: OSError if it does not come up."""
        self._socket, theirs = socket.socketpair()
        self._answers = self._socket.makefile("rb")
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, *_SERVER, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        try:
            self._answer(_START_WAIT_S)
        except OSError:
            self.close()
            raise

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, request: dict[str, str]) -> dict[str, Any]:
        """Raises: OSError if it ends, or does not answer."""
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self._answer(_ANSWER_WAIT_S)

    def close(self) -> None:
        """It ends as it sees the socket's end; its runs go on."""
        self._answers.close()
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WAIT_S)
            return
        self._process.kill()
        self._process.wait()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        answer = self._answers.readline(_MAX_ANSWER_BYTES)
        if not answer.endswith(b"\n"):
            raise ConnectionError("it has ended")
        return dict(json.loads(answer))


def _failed(message: str) -> DagsterLaunchFailedError:
    return DagsterLaunchFailedError(message)  # type: ignore[no-untyped-call]
