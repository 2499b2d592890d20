"""The sandbox as a whole: up, down, status.

One command at a time works on a sandbox (a lock beside its folder). The state is written before a server starts
and again with its pid, so that whatever happens in between, the next `up` or `down` finds what to end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.sandbox.locking import file_lock
from eurosky_pipeline.sandbox.packages import INSTALL_TIMEOUT_S, ensure_packages
from eurosky_pipeline.sandbox.ports import choose_ports, holder_of, is_free
from eurosky_pipeline.sandbox.processes import find_processes, is_alive, last_lines, start_process, stop_processes
from eurosky_pipeline.sandbox.servers import (
    TITLES,
    data_folder,
    is_healthy,
    marker,
    new_pds_secrets,
    server_command,
    server_environment,
)
from eurosky_pipeline.sandbox.state import (
    ProcessId,
    SandboxState,
    ServerState,
    is_running,
    load_state,
    log_path_of,
    sandbox_folder,
    save_state,
)

Report = Callable[[str], None]

READY_TIMEOUT_S = 120.0
_POLL_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server, looked at just now.

    Attributes:
        pid: of the process that was last started; None while the server is stopped.
        is_running: that very process is alive.
        is_healthy: it is, and answers its health endpoint.
    """

    name: str
    title: str
    url: str
    pid: int | None
    is_running: bool
    is_healthy: bool
    log_path: Path


def up(
    home: Path,
    *,
    report: Report,
    rate_limits: bool | None = None,
    blob_upload_limit_bytes: int | None = None,
) -> SandboxState:
    """Start the sandbox in `home`, or leave it running; returns when all three servers answer.

    The first time, npm packages are installed and ports and secrets chosen; both stay for good, and so do the
    accounts. If some of the servers have died, or an option changes, all are started afresh.

    Args:
        home: the pipeline's `EUROSKY_HOME`; made if missing.
        report: is told, in one line each, what is being done.
        rate_limits: whether the PDSes limit requests as real ones do; None: as it was, at first off.
        blob_upload_limit_bytes: largest blob that the PDSes take; None: as it was, at first 100 MB.

    Raises:
        SettingsError: an option is out of range, a part of the `sandbox` extra is missing, a port that the
            sandbox's accounts depend on is taken (`code="port_taken"`), or the state cannot be read.
        FatalError: npm failed, or a server did not start (`code="server_not_ready"`); nothing is left running.
    """
    if blob_upload_limit_bytes is not None and blob_upload_limit_bytes < 1:
        raise SettingsError(
            f"the blob upload limit must be at least 1 byte, not {blob_upload_limit_bytes}", hint="give more"
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _exclusively(home, report):
        previous = load_state(home)
        state = previous or _new_state(sandbox_folder(home))
        if rate_limits is not None:
            state = replace(state, has_rate_limits=rate_limits)
        if blob_upload_limit_bytes is not None:
            state = replace(state, blob_upload_limit_bytes=blob_upload_limit_bytes)
        if state == previous and is_running(state) and all(map(is_healthy, state.servers)):
            return state
        packages = ensure_packages(report)  # before anything is stopped: it may fail
        if _stop(state):
            report("stopped what was still running of the sandbox, to start it afresh")
        _check_ports(state)
        return _start(state, packages, report)


def down(home: Path, *, report: Report, erase: bool = False) -> tuple[str, ...]:
    """Stop the sandbox in `home`, and leave no process behind; no error if there is nothing to stop.

    Args:
        erase: also remove its folder: accounts, secrets, logs. Otherwise the next `up` finds them all.

    Returns: the names of the servers that were running.

    Raises:
        SettingsError: the state cannot be read; what runs is stopped all the same. Not with `erase`.
        FatalError: a process survived SIGKILL.
    """
    if not home.is_dir():
        return ()
    folder = sandbox_folder(home)
    with _exclusively(home, report):
        try:
            state = load_state(home)
        except SettingsError:
            stop_processes(find_processes(marker(folder)))
            if not erase:
                raise
            state = None
        stopped = () if state is None else _stop(state)
        stop_processes(find_processes(marker(folder)))
        if erase and folder.exists():
            shutil.rmtree(folder)
    return stopped


def status(home: Path) -> tuple[ServerStatus, ...]:
    """How the three servers of the sandbox in `home` are; empty if there never was one.

    Raises:
        SettingsError: the state cannot be read.
    """
    state = load_state(home)
    return () if state is None else tuple(map(_look_at, state.servers))


def _look_at(server: ServerState) -> ServerStatus:
    running = is_alive(server.process)
    return ServerStatus(
        name=server.name,
        title=TITLES[server.name],
        url=server.url,
        pid=None if server.process is None else server.process.pid,
        is_running=running,
        is_healthy=running and is_healthy(server),
        log_path=server.log_path,
    )


def _exclusively(home: Path, report: Report) -> AbstractContextManager[object]:
    # beside the folder and not in it: the folder may be erased while others wait for the lock
    path, busy = home / "sandbox.lock", "another command is working on this sandbox"
    return file_lock(path, timeout_s=INSTALL_TIMEOUT_S + READY_TIMEOUT_S, report=report, busy=busy)


def _new_state(folder: Path) -> SandboxState:
    plc, source, destination = (
        ServerState(name, port, None, log_path_of(folder, name))
        for name, port in zip(TITLES, choose_ports(len(TITLES)), strict=True)
    )
    return SandboxState(folder, plc, source, destination, new_pds_secrets(), new_pds_secrets())


def _check_ports(state: SandboxState) -> None:
    for server in state.servers:
        if not is_free(server.port):
            raise SettingsError(
                f"port {server.port}, which belongs to the sandbox's {TITLES[server.name]}, is taken by "
                f"{holder_of(server.port)}",
                code="port_taken",
                hint="stop that program; or, since the sandbox's accounts name this port and cannot move, make a "
                "new sandbox without them: `eurosky sandbox down --erase`, then `eurosky sandbox up`",
            )


def _start(state: SandboxState, packages: Path, report: Report) -> SandboxState:
    started_s = time.monotonic()
    for server in state.servers:
        (data_folder(state, server) / "blobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        server.log_path.parent.mkdir(exist_ok=True)
    state.folder.chmod(0o700)  # the servers' databases hold keys, too
    save_state(state)
    log_starts = {server.name: _size_bytes(server.log_path) for server in state.servers}
    report("starting the PLC directory and two PDSes")
    try:
        for server in state.servers:
            process = start_process(
                server_command(state, server, packages),
                env=server_environment(state, server),
                cwd=data_folder(state, server),
                log_path=server.log_path,
            )
            state = _with_process(state, server, process)
            save_state(state)
        _wait_until_ready(state, log_starts)
    except BaseException:  # Ctrl-C as well: what was started must not stay
        _stop(state)
        raise
    report(f"the sandbox is ready after {time.monotonic() - started_s:.1f} s")
    return state


def _wait_until_ready(state: SandboxState, log_starts: dict[str, int]) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    waiting = list(state.servers)
    while waiting:
        for server in waiting:
            if not is_alive(server.process):
                raise _not_ready(server, "ended while it was starting", log_starts)
        waiting = [server for server in waiting if not is_healthy(server)]
        if waiting and time.monotonic() > deadline_s:
            raise _not_ready(waiting[0], f"did not answer within {READY_TIMEOUT_S:.0f} s", log_starts)
        if waiting:
            time.sleep(_POLL_INTERVAL_S)


def _not_ready(server: ServerState, what: str, log_starts: dict[str, int]) -> FatalError:
    return FatalError(
        f"the sandbox's {TITLES[server.name]} ({server.url}) {what}; the end of its log:\n"
        f"{last_lines(server.log_path, start_byte=log_starts[server.name])}",
        code="server_not_ready",
        hint=f"the whole log is {server.log_path}",
    )


def _stop(state: SandboxState) -> tuple[str, ...]:
    """End all of the sandbox's processes and remember so; returns the names of the servers that were running."""
    known = {server.process: server.name for server in state.servers if server.process is not None}
    running = tuple(name for process, name in known.items() if is_alive(process))
    stop_processes([*known, *find_processes(marker(state.folder))])
    if known and state.folder.is_dir():
        for server in state.servers:
            state = _with_process(state, server, None)
        save_state(state)
    return running


def _with_process(state: SandboxState, server: ServerState, process: ProcessId | None) -> SandboxState:
    changed = replace(server, process=process)
    if server.name == "plc":
        return replace(state, plc=changed)
    return replace(state, source=changed) if server.name == "source" else replace(state, destination=changed)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
