"""The warm process: everything that a run needs is imported, and each run is a fork of it.

`python -m eurosky_pipeline.orchestration.run_server FD`, started by `launcher`, which has the other end of the socket
FD. A message is a line of JSON, `{"run_id", "instance"}`, and answered by one, `{"pid"}` or `{"error"}`.

It has one thread and no connection of its own: nothing is in it that a fork would have in two processes. It ends when
the socket does, whoever ended the launcher, and however; runs go on without it. A run that ends by a signal, or before
it could say anything, it reports as failed at once.

What stays as it was until the process is started anew is the program: of a new version its runs know nothing.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts
from dagster._utils.log import configure_loggers

from eurosky_pipeline.orchestration.workers import WORKER_TAG, worker_tag
from eurosky_pipeline.registry.controls import open_controls
from eurosky_pipeline.registry.patience import PATIENCE_S
from eurosky_pipeline.settings import load_settings

MAX_MESSAGE_BYTES = 1 << 16
DEFINITIONS = ("eurosky_pipeline.definitions", "defs")
_REAP_EVERY_S = 1.0
_IMPORTED_BY_RUNS = (
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.storage.migration.utils",
    "dagster._core.storage.noop_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "encodings.idna",
    "eurosky_pipeline.orchestration.postgres_storage",
    "eurosky_pipeline.orchestration.sqlite_storage",
    "eurosky_pipeline.orchestration.storage",
    "eurosky_pipeline.sandbox.processes",
    "fsspec.implementations.local",
    "upath.core",
    "upath.implementations.local",
)
_TO_START = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
_TO_END = (DagsterRunStatus.CANCELING,)


def main() -> None:
    """Serve the socket whose descriptor is the one argument, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's, which reaches the whole group: the launcher decides
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        os.set_inheritable(requests.fileno(), False)
        _warm_up()
        _answer(requests, {"pid": os.getpid()})
        _serve(requests)


def _warm_up() -> None:
    """What each run would do first, done once: the definitions, and the jobs in them."""
    configure_loggers()
    repository = ReconstructableRepository.for_module(*DEFINITIONS).get_definition()
    repository.get_all_jobs()
    _import_what_runs_import()
    gc.collect()
    gc.freeze()  # a collection in a run would else write to, and so copy, every page


def _import_what_runs_import() -> None:
    """What is left until it is asked for, and would be read anew by each run."""
    for module in _IMPORTED_BY_RUNS:
        import_module(module)


def _serve(requests: socket.socket) -> None:
    runs: dict[int, dict[str, str]] = {}
    lines = requests.makefile("rb")  # one request at a time: what is read is all that has been sent
    while True:
        is_ready, _, _ = select.select([requests], [], [], _REAP_EVERY_S)
        _reap(runs, requests)
        if not is_ready:
            continue
        line = lines.readline(MAX_MESSAGE_BYTES)
        if not line.endswith(b"\n"):
            return
        request = json.loads(line)
        try:
            pid = _fork(lambda: _run(request), requests)  # noqa: B023 - the child's copy
        except OSError as error:  # no memory, or no process left
            _answer(requests, {"error": f"no process could be made: {error.strerror}"})
        else:
            runs[pid] = request
            _answer(requests, {"pid": pid})


def _answer(requests: socket.socket, document: dict[str, Any]) -> None:
    with suppress(OSError):  # nobody waits any more: the end of the socket says so too
        requests.sendall(json.dumps(document).encode() + b"\n")


def _reap(runs: dict[int, dict[str, str]], requests: socket.socket) -> None:
    """Look which have ended, and have a process say so of those that cannot have said it themselves."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        request = runs.pop(pid, None)
        if request is not None and status != 0:
            how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
            with suppress(OSError):  # run monitoring finds it
                _fork(lambda: _report_dead(request, pid, how), requests)  # noqa: B023 - the child's copy


def _fork(work: Callable[[], int], requests: socket.socket) -> int:
    """The pid of a process that does this work, and nothing else."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _in_child(work, requests)
    return pid


def _in_child(work: Callable[[], int], requests: socket.socket) -> NoReturn:
    exit_code = 1
    try:
        requests.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exit_code = work()
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


def _run(request: dict[str, Any]) -> int:
    """Execute the run as Dagster's own workers do. Returns the exit code: 0 where the run has said how it ended."""
    with capture_interrupts(), _opened(request) as instance:
        run = _claim(instance, request["run_id"])
        if run is not None:
            _execute_run_command_body(run.run_id, instance, lambda _: None, set_exit_code_on_failure=False)
        return 0


def _claim(instance: DagsterInstance, run_id: str) -> DagsterRun | None:
    """The run, which now says that it is this process's; None where there is nothing to do: it was cancelled, or has
    another process already."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in (*_TO_START, *_TO_END) or WORKER_TAG in run.tags:
        state = "is not in this process's storage" if run is None else f"is {run.status.value}, or another process's"
        print(f"run {run_id} {state}: nothing to do", file=sys.stderr)
        return None
    worker = worker_tag()
    controls = open_controls(load_settings(), patience_s=PATIENCE_S)
    try:
        if not controls.claim_run(run_id, worker[WORKER_TAG]):  # of another daemon, at this very moment
            return None
    finally:
        controls.close()
    instance.add_run_tags(run_id, worker)
    run = instance.get_run_by_id(run_id)  # who asked for its end before this has not found us
    if run is not None and run.status in _TO_END:
        instance.report_run_canceled(run, message="its termination was asked for before it began")
        return None
    return run


def _report_dead(request: dict[str, Any], pid: int, how: str) -> int:
    """Its process has ended without a word: say so, unless the run has ended."""
    with _opened(request) as instance:
        run = instance.get_run_by_id(request["run_id"])
        if run is None or run.is_finished:
            return 0
        message = f"The process of the run (pid {pid}) has ended by {how}."
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=message)
        else:
            instance.report_run_failed(run, message=message)
        return 0


def _opened(request: dict[str, Any]) -> DagsterInstance:
    return DagsterInstance.from_ref(deserialize_value(request["instance"], InstanceRef))


if __name__ == "__main__":
    main()
