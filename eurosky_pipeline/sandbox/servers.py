"""What each server is started with, and how one asks whether it is well."""

from __future__ import annotations

import http
import http.client
import os
import secrets
from pathlib import Path

from eurosky_pipeline.sandbox.node import node_binary
from eurosky_pipeline.sandbox.packages import SCRIPTS
from eurosky_pipeline.sandbox.state import PdsSecrets, SandboxState, ServerState

TITLES = {"plc": "PLC directory", "source": "source PDS", "destination": "destination PDS"}
_HEALTH_TIMEOUT_S = 5.0
_K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
# What a server may see of our environment. Proxy variables are left out on purpose: it talks to loopback only.
_INHERITED = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "TMP", "TEMP", "LANG", "LC_ALL", "TZ")


def new_pds_secrets() -> PdsSecrets:
    """Fresh random secrets for one PDS."""
    return PdsSecrets(
        admin_password=secrets.token_hex(16),
        jwt_secret=secrets.token_hex(32),
        rotation_key_hex=f"{1 + secrets.randbelow(_K256_ORDER - 1):064x}",
        rate_limit_bypass_key=secrets.token_hex(16),
    )


def data_folder(state: SandboxState, server: ServerState) -> Path:
    """Where `server` keeps what it must not forget."""
    return state.folder / server.name


def blob_folder(state: SandboxState, server: ServerState) -> Path:
    """Where a PDS keeps its accounts' blobs: a folder an account, named by its DID, and in it a file a blob."""
    return data_folder(state, server) / "blobs"


def marker(folder: Path) -> str:
    """An argument that only processes of the sandbox in `folder` have, so that strays can be told from others."""
    return f"--eurosky-sandbox={folder}"


def server_command(state: SandboxState, server: ServerState, packages: Path) -> list[str]:
    """The command line of `server`; `packages` holds its `node_modules`. No secret stands in it."""
    script = SCRIPTS / ("plc.mjs" if server.name == "plc" else "pds.mjs")
    return [str(node_binary()), str(script), str(packages), marker(state.folder)]


def server_environment(state: SandboxState, server: ServerState) -> dict[str, str]:
    """The whole environment of `server`: its settings and secrets, and a few plain variables of ours."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    common = {"NODE_ENV": "production", "LOG_ENABLED": "true", "LOG_LEVEL": "warn"}
    own = _plc_settings(state) if server.name == "plc" else _pds_settings(state, server)
    return inherited | common | own


def is_healthy(server: ServerState) -> bool:
    """Whether `server` answers its health endpoint with 200 within 5 s."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=_HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/_health" if server.name == "plc" else "/xrpc/_health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _plc_settings(state: SandboxState) -> dict[str, str]:
    return {"PLC_PORT": str(state.plc.port), "PLC_DATA_DIRECTORY": str(data_folder(state, state.plc))}


def _pds_settings(state: SandboxState, server: ServerState) -> dict[str, str]:
    keys = state.source_secrets if server.name == "source" else state.destination_secrets
    folder = data_folder(state, server)
    return {
        "PDS_HOSTNAME": "localhost",
        "PDS_PORT": str(server.port),
        "PDS_SERVICE_DID": f"did:web:localhost%3A{server.port}",
        "PDS_DATA_DIRECTORY": str(folder),
        "PDS_BLOBSTORE_DISK_LOCATION": str(blob_folder(state, server)),
        "PDS_DID_PLC_URL": state.plc_url,
        "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX": keys.rotation_key_hex,
        "PDS_JWT_SECRET": keys.jwt_secret,
        "PDS_ADMIN_PASSWORD": keys.admin_password,
        "PDS_BLOB_UPLOAD_LIMIT": str(state.blob_upload_limit_bytes),
        "PDS_RATE_LIMITS_ENABLED": "true" if state.has_rate_limits else "false",
        "PDS_RATE_LIMIT_BYPASS_KEY": keys.rate_limit_bypass_key,
        "PDS_INVITE_REQUIRED": "false",
        "PDS_DEV_MODE": "true",
        "PDS_DISABLE_SSRF_PROTECTION": "true",  # its peers are on loopback, which the protection refuses
    }
