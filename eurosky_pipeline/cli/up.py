"""`eurosky up`: the Dagster webserver and daemon on this instance, until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from eurosky_pipeline.cli.output import tell
from eurosky_pipeline.errors import EuroskyError, SettingsError

_STOP_TIMEOUT_S = 20.0


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
    if host not in ("127.0.0.1", "::1", "localhost"):
        tell(f"warning: the Dagster UI has no login, and {host} may be reached by others")
    workspace = ["-w", str(WORKSPACE_FILE)]
    with (
        _running("dagster_webserver", ["-h", host, "-p", str(port), *workspace]) as webserver,
        _running("dagster._daemon", ["run", *workspace]) as daemon,
    ):
        is_told = False
        while True:
            for name, process in (("webserver", webserver), ("daemon", daemon)):
                if process.poll() is not None:
                    raise EuroskyError(
                        f"the Dagster {name} ended with exit code {process.returncode}",
                        code="dagster_ended",
                        hint="its last lines above say why",
                    )
            if not is_told and _is_listening(host, port):
                is_told = True
                tell(f"Dagster UI: http://{host}:{port}   (Ctrl-C stops it)")
            time.sleep(0.5)


@contextmanager
def _running(module: str, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child that ends with the block: asked first, made to if it does not listen."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", module, *arguments], start_new_session=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            code="port_taken",
            hint="choose another --port",
        ) from None
