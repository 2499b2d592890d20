"""The servers' npm packages, installed once per lock into the user's cache.

`<cache>/eurosky/npm/<hash>/` is either absent or whole: npm works in a folder beside it that is renamed when
npm is done. `<hash>` covers the lock and the platform, so a new lock never meets old packages.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.sandbox.locking import file_lock
from eurosky_pipeline.sandbox.node import node_binary, npm_script
from eurosky_pipeline.sandbox.processes import last_lines, run_process

MANIFESTS = ("package.json", "package-lock.json")
SCRIPTS = Path(__file__).parent / "npm"
INSTALL_TIMEOUT_S = 900.0
_LOCK_TIMEOUT_S = INSTALL_TIMEOUT_S + 60.0

# What npm may see of our environment: how to reach a registry, and nothing of ours.
_HOUSE_NAMES = ("PATH", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "TMPDIR", "TMP", "TEMP", "LANG")
_NETWORK_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")


def cache_folder() -> Path:
    """Where npm packages of every lock live: `npm/` in the user's cache folder of this project."""
    return platformdirs.user_cache_path("eurosky") / "npm"


def ensure_packages(report: Callable[[str], None]) -> Path:
    """Install the locked npm packages unless they are there; safe to call from several processes at once.

    Args:
        report: is told, in one line each, what takes time.

    Returns: the folder that holds `node_modules`.

    Raises:
        SettingsError: Node or a Python package of the `sandbox` extra is missing.
        FatalError: npm failed (`code="npm_failed"`); the message names its log and shows the end of it.
    """
    cache = cache_folder()
    folder = cache / lock_hash()
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    lock_path, busy = cache / f"{folder.name}.lock", "another process is installing the npm packages"
    with file_lock(lock_path, timeout_s=_LOCK_TIMEOUT_S, report=report, busy=busy):
        if not folder.is_dir():
            _install(folder, report)
    return folder


def lock_hash() -> str:
    """16 hex digits that change with the manifests and with the platform (some packages hold binaries)."""
    digest = hashlib.sha256(f"{sys.platform}-{platform.machine()}".encode())
    for name in MANIFESTS:
        digest.update((SCRIPTS / name).read_bytes())
    return digest.hexdigest()[:16]


def _install(folder: Path, report: Callable[[str], None]) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.*.partial"):  # of an install that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    report("installing the servers' npm packages (only the first time; about 400 MB, up to a minute or two)")
    started_s = time.monotonic()
    log_path = folder.parent / f"{folder.name}.log"
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        for name in MANIFESTS:
            shutil.copyfile(SCRIPTS / name, partial / name)
        _run_npm(partial, log_path)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report(f"npm packages installed in {time.monotonic() - started_s:.0f} s")


def _run_npm(folder: Path, log_path: Path) -> None:
    # No install scripts: every binary in this lock ships inside its package, so none has to run code here.
    command = [
        str(node_binary()), str(npm_script()), "ci", "--ignore-scripts", "--omit=dev",
        "--no-audit", "--no-fund", "--prefer-offline", "--no-update-notifier", "--loglevel=warn",
    ]  # fmt: skip
    log_path.unlink(missing_ok=True)
    code = run_process(
        command, env=_environment(os.environ), cwd=folder, log_path=log_path, timeout_s=INSTALL_TIMEOUT_S
    )
    if code != 0:
        outcome = f"was not done after {INSTALL_TIMEOUT_S:.0f} s" if code is None else f"ended with exit code {code}"
        raise FatalError(
            f"`npm ci` {outcome}; the end of {log_path}:\n{last_lines(log_path)}",
            code="npm_failed",
            hint="npm needs its registry (or a mirror of it, in .npmrc) the first time the sandbox starts",
        )


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in outer.items()
        if name.upper() in _HOUSE_NAMES + _NETWORK_NAMES or name.lower().startswith("npm_config_")
    }
