"""`eurosky up`: the Dagster webserver and daemon on this instance, until Ctrl-C."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from eurosky_pipeline.cli.output import tell
from eurosky_pipeline.errors import ConflictError, FatalError, SettingsError

LOCK_NAME = ".up.lock"
_MAX_LOCK_BYTES = 200
_STOP_GRACE_S = 20.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the UI has no login.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
def up(host: str, port: int) -> None:
    """Serve the Dagster UI and run the daemon (queue, sensors, schedules, backfills) until Ctrl-C.

    Runs of `eurosky migrate` and `eurosky demo` with the same EUROSKY_HOME are there too. One of it runs for a home;
    with --host other than this machine's own, put something with a login before it.
    """
    from eurosky_pipeline.orchestration.instance import WORKSPACE_FILE, open_instance, prepare_instance
    from eurosky_pipeline.orchestration.switches import check_names
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    check_names(settings)
    folder = prepare_instance(settings)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _alone(folder, address) as lock:
        _check_free(host, port)
        if not _is_loopback(host):
            tell(
                f"warning: the Dagster UI has no login: whoever reaches {address} can see, start and stop migrations; "
                "without --host only this machine can"
            )
        tell(f"starting the Dagster webserver and daemon on the instance {folder}")
        registry = open_registry(settings)  # a server that is not there is told of at once
        paused = registry.paused()
        registry.close()
        if paused is not None:
            tell(f"{paused}; nothing starts until `eurosky resume`")
        with open_instance():  # its storage is there before two come for it at once
            pass
        workspace = ["-w", str(WORKSPACE_FILE)]
        commands = {
            "webserver": ["dagster_webserver", "-h", host, "-p", str(port), *workspace],
            "daemon": ["dagster._daemon", "run", *workspace],
        }
        with suppress(KeyboardInterrupt), _running(commands, lock) as processes:
            children = ", ".join(f"{name} {process.pid}" for name, process in processes.items())
            _note(lock, f"process {os.getpid()} ({children}), {address}")
            _watch(processes, host, port, address)


@contextmanager
def _alone(folder: Path, address: str) -> Iterator[int]:
    """Hold the instance's lock, and yield its descriptor. The children inherit it: where this process is killed, two
    daemons on one instance still cannot be.

    Raises: ConflictError: another `eurosky up` has it, or what that one has left running.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held_by = os.read(descriptor, _MAX_LOCK_BYTES).decode("ascii", "replace").strip()
            raise ConflictError(
                f"`eurosky up` runs already on the instance {folder}{f': {held_by}' if held_by else ''}",
                code="up_running",
                hint="use that one, or stop it first (Ctrl-C there, or SIGTERM to its process); if it was killed, end "
                "its webserver and daemon, which it has left",
            ) from None
        _note(descriptor, f"process {os.getpid()}, {address}")
        yield descriptor
    finally:
        os.close(descriptor)


def _note(lock: int, text: str) -> None:
    """Say in the lock's file who holds it, in place of what stood there."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode("ascii", "replace")[:_MAX_LOCK_BYTES], 0)


def _watch(processes: dict[str, subprocess.Popen[bytes]], host: str, port: int, address: str) -> None:
    """Say when the UI answers; raises FatalError as soon as one of the two has ended."""
    is_told = False
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise FatalError(
                    f"the Dagster {name} ended with exit code {process.returncode}",
                    code="dagster_ended",
                    hint="its last lines above say why",
                )
        if not is_told and _is_listening(host, port):
            is_told = True
            tell(f"Dagster UI: {address}   (Ctrl-C stops it)")
        time.sleep(0.5)


@contextmanager
def _running(commands: dict[str, list[str]], lock: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Python modules in sessions of their own: Ctrl-C reaches us alone, and we end all that they started, whoever
    presses it again meanwhile."""
    import psutil

    from eurosky_pipeline.sandbox.processes import stop_processes
    from eurosky_pipeline.sandbox.state import ProcessId

    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *command], start_new_session=True, pass_fds=[lock]
            )
        yield processes
    finally:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOP_SIGNALS}
        tell("stopping")
        alive = [process.pid for process in processes.values() if process.poll() is None]
        stop_processes([ProcessId(pid, psutil.Process(pid).create_time()) for pid in alive], grace_s=_STOP_GRACE_S)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_listening(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_free(host: str, port: int) -> None:
    """Raises SettingsError where nobody can listen there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family):
            return
    except socket.gaierror:
        reason = f"{host} is no address of this machine"
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise SettingsError(
        f"cannot listen on {host}:{port}: {reason}",
        code="port_taken",
        hint="choose another --port, or another --host if that is none of this machine's",
    )
