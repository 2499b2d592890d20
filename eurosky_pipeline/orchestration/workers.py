"""Which process a run is in, as a tag of the run; and whether that process is still there.

The tag `eurosky/worker` is JSON: `host`, `pid`, and `started`. `host` is a sum of what tells apart one boot of one
machine, and one container from another: a pid says something only there. `started` is when the process began, as the
system counts it: a pid is used again, a pid with its start is not. On Linux it is counted from the boot, so that no
clock that is set while the run goes on makes another process of it.
"""

import hashlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

WORKER_TAG = "eurosky/worker"
_MAX_TAG_CHARS = 300
_PROC = Path("/proc")
_GONE_STATES = ("Z", "X")
# Where the start comes from the clock, a clock that is corrected by seconds makes it no other one.
_CLOCK_TOLERANCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Worker:
    """One process and no other.

    Attributes:
        host: says which machine, boot and container; see `this_host`.
        started: clock ticks since the boot on Linux, elsewhere Unix time in seconds.
    """

    host: str
    pid: int
    started: float


def worker_tag() -> dict[str, str]:
    """The tag of a run that this process executes."""
    pid = os.getpid()
    document = {"host": this_host(), "pid": pid, "started": _started(pid)}
    return {WORKER_TAG: json.dumps(document, separators=(",", ":"))}


def worker_of(tags: Mapping[str, str]) -> Worker | None:
    """Whom a run's tags name; None where they name nobody, or in words that are not ours."""
    text = tags.get(WORKER_TAG, "")
    if len(text) > _MAX_TAG_CHARS:
        return None
    try:
        fields = json.loads(text)
        host, pid, started = fields["host"], fields["pid"], fields["started"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_number = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (pid, started))
    if not isinstance(host, str) or not is_number or not isinstance(pid, int) or not 0 < pid < 2**31:
        return None
    return Worker(host, pid, float(started))


def is_gone(tags: Mapping[str, str]) -> bool | None:
    """Whether the process that executes a run with these tags has ended.

    True only where that is certain: this very machine, since the same boot, has no such process. None where it cannot
    be told: another machine or container, an earlier boot, a run without the tag.
    """
    worker = worker_of(tags)
    if worker is None or worker.host != this_host():
        return None
    return _is_gone(worker)


def interrupt(tags: Mapping[str, str]) -> bool:
    """Send SIGINT to the process that executes a run with these tags, and to no other.

    Returns: False where it has ended, is not on this machine, or cannot be told apart for certain.
    """
    worker = worker_of(tags)
    if worker is None or worker.host != this_host():
        return False
    with suppress(OSError):
        if not hasattr(os, "pidfd_open"):
            if _is_gone(worker) is not False:
                return False
            os.kill(worker.pid, signal.SIGINT)
            return True
        descriptor = os.pidfd_open(worker.pid)  # from here on nobody else can come to its pid unseen
        try:
            if _is_gone(worker) is False:
                signal.pidfd_send_signal(descriptor, signal.SIGINT)
                return True
        finally:
            os.close(descriptor)
    return False


def this_host() -> str:
    """A sum over this machine's names, its boot, and the container that numbers our pids.

    What a system does not have is left out; one part that differs makes another host, where nothing is certain.
    """
    parts = [socket.gethostname()]
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with suppress(OSError):
            parts.append(Path(path).read_text().strip())
    with suppress(OSError):
        parts.append(str((_PROC / "self/ns/pid").readlink()))
    if not _PROC.is_dir():
        parts.append(f"{psutil.boot_time() // 60:.0f}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _is_gone(worker: Worker) -> bool | None:
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's: it is there, and /proc may hide it
        pass
    try:
        if _state(worker.pid) in _GONE_STATES:
            return True
        started = _started(worker.pid)
    except (OSError, psutil.Error, IndexError, ValueError):
        return None
    tolerance = 0.0 if _PROC.is_dir() else _CLOCK_TOLERANCE_S
    return abs(started - worker.started) > tolerance


def _started(pid: int) -> float:
    """Raises: OSError or psutil.Error for a process that is not there, or may not be seen."""
    return float(_stat(pid)[19]) if _PROC.is_dir() else psutil.Process(pid).create_time()


def _state(pid: int) -> str:
    if _PROC.is_dir():
        return _stat(pid)[0]
    return "Z" if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE else ""


def _stat(pid: int) -> list[str]:
    """What `/proc/PID/stat` has behind the command's name, which may be anything; its state first (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
