"""Processes that outlive us: started apart from the terminal, known again by pid and create time, ended for certain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.sandbox.state import ProcessId

STOP_GRACE_S = 10.0
_KILL_WAIT_S = 5.0
# The clock that create times come from may be corrected by a second between two readings.
_CREATE_TIME_TOLERANCE_S = 2.0

# Children of this very process, kept so that they are reaped (a zombie would still look like a process).
_children: dict[int, subprocess.Popen[bytes]] = {}


def start_process(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path) -> ProcessId:
    """Start `command` in a session of its own, its output appended to `log_path`.

    Ctrl-C in our terminal does not reach it, and it goes on when we end.

    Raises:
        FatalError: it ended before it could be looked at (`code="process_died"`).
    """
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    try:
        return ProcessId(child.pid, psutil.Process(child.pid).create_time())
    except psutil.NoSuchProcess:
        raise FatalError(
            f"{command[0]} ended as soon as it was started", code="process_died", hint=f"{log_path} may say why"
        ) from None


def run_process(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path, timeout_s: float
) -> int | None:
    """Run `command` to its end, output to `log_path`; when we are interrupted, it is ended with all its descendants.

    Returns: its exit code, or None if it was not done after `timeout_s` seconds (it is ended then).
    """
    process = start_process(command, env=env, cwd=cwd, log_path=log_path)
    child = _children[process.pid]
    try:
        return child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        stop_processes([process])


def is_alive(process: ProcessId | None) -> bool:
    """Whether this very process runs: same pid *and* same create time, and not a zombie."""
    return process is not None and _find(process) is not None


def stop_processes(processes: Iterable[ProcessId], *, grace_s: float = STOP_GRACE_S) -> list[int]:
    """End processes and all their descendants: SIGTERM, `grace_s` seconds, SIGKILL. Those already gone are no error.

    Returns: the pids of those among `processes` that were running.

    Raises:
        FatalError: one survived SIGKILL (`code="process_survived"`).
    """
    processes = list(processes)
    found = [ours for process in processes if (ours := _find(process)) is not None]
    family = {member.pid: member for parent in found for member in [parent, *_descendants(parent)]}
    for member in family.values():
        _signal(member, kill=False)
    _, alive = psutil.wait_procs(list(family.values()), timeout=grace_s)
    for member in alive:
        _signal(member, kill=True)
    _, alive = psutil.wait_procs(alive, timeout=_KILL_WAIT_S)
    for process in processes:
        _reap(process.pid)
    if alive:
        raise FatalError(
            f"these processes survived SIGKILL: {', '.join(str(p.pid) for p in alive)}",
            code="process_survived",
            hint="the system itself keeps them, for a disk that does not answer, say; look at it before you go on",
        )
    return [member.pid for member in found]


def find_processes(marker: str) -> list[ProcessId]:
    """Running processes with `marker` among their arguments: what a start that was killed half-way left behind."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and marker in (process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                found.append(ProcessId(process.pid, process.create_time()))
    return found


def last_lines(path: Path, *, count: int = 15, start_byte: int = 0) -> str:
    """The last `count` lines of a log, indented, none from before `start_byte`; reads at most its last 16 KiB."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start_byte, size - 16 * 1024))
            lines = log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(f"    {line}" for line in lines[-count:]) or "    (nothing)"


def _find(process: ProcessId) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process.pid)
        is_same = abs(found.create_time() - process.created_at_s) < _CREATE_TIME_TOLERANCE_S
        if is_same and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, *, kill: bool) -> None:
    with suppress(psutil.NoSuchProcess):
        if kill:
            process.kill()
        else:
            process.terminate()


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
