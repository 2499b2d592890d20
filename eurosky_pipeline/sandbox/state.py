"""What is remembered of the sandbox: `$EUROSKY_HOME/sandbox/sandbox.json`, mode 0600.

Light to import: every run of the pipeline asks here which private addresses it may talk to. Starting and
stopping are in `network`.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eurosky_pipeline.errors import SettingsError

MB = 1024 * 1024
DEFAULT_BLOB_UPLOAD_LIMIT_BYTES = 100 * MB  # what the official distribution of the PDS sets
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process and no other: pids are used again, a pid with its create time is not.

    Attributes:
        created_at_s: Unix time of its start, in seconds.
    """

    pid: int
    created_at_s: float


@dataclass(frozen=True, slots=True)
class ServerState:
    """One of the three servers.

    Attributes:
        name: `plc`, `source` or `destination`.
        port: on loopback; chosen once, since a PDS's DID and its accounts' documents name it.
        process: None while it is stopped.
        log_path: its stdout and stderr, appended to at every start.
    """

    name: str
    port: int
    process: ProcessId | None
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"


@dataclass(frozen=True, slots=True)
class PdsSecrets:
    """What one PDS must keep for itself; never shown in a repr.

    Attributes:
        rotation_key_hex: the k256 private key, 64 hex digits, with which the PDS signs PLC operations.
        rate_limit_bypass_key: value of the header `x-ratelimit-bypass` that lifts its rate limits.
    """

    admin_password: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    rotation_key_hex: str = field(repr=False)
    rate_limit_bypass_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The sandbox as it was last started.

    Attributes:
        folder: holds all of it: this state, the logs, each server's data.
        has_rate_limits: whether the PDSes limit requests as the real ones do.
        blob_upload_limit_bytes: largest blob that the PDSes accept.
    """

    folder: Path
    plc: ServerState
    source: ServerState
    destination: ServerState
    source_secrets: PdsSecrets
    destination_secrets: PdsSecrets
    has_rate_limits: bool = False
    blob_upload_limit_bytes: int = DEFAULT_BLOB_UPLOAD_LIMIT_BYTES

    @property
    def servers(self) -> tuple[ServerState, ServerState, ServerState]:
        return (self.plc, self.source, self.destination)

    @property
    def plc_url(self) -> str:
        return self.plc.url

    @property
    def source_pds(self) -> str:
        return self.source.url

    @property
    def destination_pds(self) -> str:
        return self.destination.url


def sandbox_folder(home: Path) -> Path:
    """The sandbox's folder in `home`, the pipeline's `EUROSKY_HOME`."""
    return home.absolute() / "sandbox"


def load_state(home: Path) -> SandboxState | None:
    """The state of the sandbox in `home`; None if there never was one.

    Raises:
        SettingsError: the file cannot be read, or another version of the pipeline wrote it.
    """
    folder = sandbox_folder(home)
    path = folder / "sandbox.json"
    try:
        return _parse(folder, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"cannot read the sandbox's state in {path} ({type(error).__name__})",
            hint="`eurosky sandbox down --erase` and `eurosky sandbox up` make a new sandbox, without the old accounts",
        ) from None  # the error's own text could quote the file, and with it a secret


def save_state(state: SandboxState) -> None:
    """Replace the state file in one step; nobody but its owner can ever read it."""
    document = asdict(state) | {"format": _FORMAT}
    del document["folder"]  # it is where the file is: a moved home stays valid
    for server in ("plc", "source", "destination"):
        del document[server]["log_path"]
    # mkstemp makes the file 0600 from the start, and in the same folder, so that the rename is atomic
    descriptor, partial = tempfile.mkstemp(dir=state.folder, prefix="sandbox.json.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(state.folder / "sandbox.json")
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def is_running(state: SandboxState) -> bool:
    """Whether all three servers run: each pid alive, and the process the one that was started."""
    return len(_running(state)) == len(state.servers)


def allowed_addresses(home: Path) -> frozenset[tuple[str, int]]:
    """The (host, port) pairs on loopback that the sandbox in `home` serves right now; empty without a running one.

    A server that has died is not among them: its port may be anybody's by now.

    Raises:
        SettingsError: there is a sandbox whose state cannot be read.
    """
    state = load_state(home)
    servers = [] if state is None else _running(state)
    return frozenset((host, server.port) for server in servers for host in ("localhost", "127.0.0.1"))


def log_path_of(folder: Path, name: str) -> Path:
    """Where the server called `name` writes its log."""
    return folder / "logs" / f"{name}.log"


def _running(state: SandboxState) -> list[ServerState]:
    from eurosky_pipeline.sandbox.processes import is_alive  # psutil costs 20 ms: only where there is a sandbox

    return [server for server in state.servers if is_alive(server.process)]


def _parse(folder: Path, document: dict[str, Any]) -> SandboxState:
    if document["format"] != _FORMAT:
        raise ValueError("another format")

    def server(name: str) -> ServerState:
        fields = document[name]
        process = fields["process"]
        return ServerState(
            name=fields["name"],
            port=fields["port"],
            process=None if process is None else ProcessId(**process),
            log_path=log_path_of(folder, name),
        )

    return SandboxState(
        folder=folder,
        plc=server("plc"),
        source=server("source"),
        destination=server("destination"),
        source_secrets=PdsSecrets(**document["source_secrets"]),
        destination_secrets=PdsSecrets(**document["destination_secrets"]),
        has_rate_limits=document["has_rate_limits"],
        blob_upload_limit_bytes=document["blob_upload_limit_bytes"],
    )
