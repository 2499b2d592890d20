"""`eurosky up`: the Dagster webserver and daemon on this instance, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from eurosky_pipeline.cli.output import tell
from eurosky_pipeline.errors import FatalError, SettingsError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_STOP_GRACE_S = 20.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the UI has no login.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def up(host: str, port: int) -> None:
    """Serve the Dagster UI and run the daemon (queue, sensors, backfills) until Ctrl-C.

    Runs of `eurosky migrate` and `eurosky demo` with the same EUROSKY_HOME are there too.
    """
    from eurosky_pipeline.orchestration.instance import WORKSPACE_FILE, prepare_instance
    from eurosky_pipeline.settings import load_settings

    prepare_instance(load_settings())
    _check_free(host, port)
    if host not in _LOOPBACK:
        tell(f"warning: the Dagster UI has no login, and {host} may be reached by others")
    tell("starting the Dagster webserver and daemon")
    workspace = ["-w", str(WORKSPACE_FILE)]
    commands = {
        "webserver": ["dagster_webserver", "-h", host, "-p", str(port), *workspace],
        "daemon": ["dagster._daemon", "run", *workspace],
    }
    with suppress(KeyboardInterrupt), _running(commands) as processes:
        _watch(processes, host, port)


def _watch(processes: dict[str, subprocess.Popen[bytes]], host: str, port: int) -> None:
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
            tell(f"Dagster UI: http://{host}:{port}   (Ctrl-C stops it)")
        time.sleep(0.5)


@contextmanager
def _running(commands: dict[str, list[str]]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Python modules in sessions of their own: Ctrl-C reaches us alone, and we end all that they started."""
    import psutil

    from eurosky_pipeline.sandbox.processes import stop_processes
    from eurosky_pipeline.sandbox.state import ProcessId

    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen([sys.executable, "-m", *command], start_new_session=True)  # noqa: S603
        yield processes
    finally:
        tell("stopping")
        alive = [process.pid for process in processes.values() if process.poll() is None]
        stop_processes([ProcessId(pid, psutil.Process(pid).create_time()) for pid in alive], grace_s=_STOP_GRACE_S)


def _is_listening(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}",
            code="port_taken",
            hint="choose another --port",
        ) from None
