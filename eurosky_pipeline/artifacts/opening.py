"""The store that `EUROSKY_ARTIFACTS` names, opened; and whether it does its work."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from eurosky_pipeline.artifacts.disk import disk_errors_named
from eurosky_pipeline.artifacts.local_store import LocalStore
from eurosky_pipeline.artifacts.store import ArtifactStore
from eurosky_pipeline.errors import EuroskyError, SettingsError, TransientError
from eurosky_pipeline.settings import S3Location


def open_store(location: Path | S3Location, token: str, stop: threading.Event | None = None) -> ArtifactStore:
    """The artifacts of one migration.

    Args:
        token: names the folder; has been checked.
        stop: ends a transfer to or from S3, as a StoppedError.

    Raises: SettingsError `artifacts_unsupported` where the packages for S3 are not installed.
    """
    if isinstance(location, Path):
        return LocalStore(location / token)
    try:
        from eurosky_pipeline.artifacts.s3_store import S3Store
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"EUROSKY_ARTIFACTS is on S3, and the package {error.name} for that is not installed",
            code="artifacts_unsupported",
            hint="`pip install 'eurosky_pipeline[s3]'`, or name a local folder",
        ) from None
    return S3Store(location, token, stop)


def check(location: Path | S3Location) -> EuroskyError | None:
    """What keeps artifacts from being kept here, found out by keeping one, fetching it and deleting it; None if nothing
    does. Blocks up to a minute where an endpoint does not answer."""
    name = "probe"
    try:
        store = open_store(location, f"check-{secrets.token_hex(8)}")
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / name
            with disk_errors_named(probe):
                probe.write_bytes(secrets.token_bytes(64))
            try:
                store.put(probe, name)
                store.get(name, probe.with_name("fetched"))
            except TransientError:  # to wait for it once is enough
                raise
            except EuroskyError:
                with suppress(EuroskyError):
                    store.delete_all()
                raise
            store.delete_all()
    except EuroskyError as error:
        return error
    return None


def free_bytes(location: Path | S3Location) -> int | None:
    """What the disk under a local folder, or under the nearest folder above it that exists, has left; None on S3, which
    tells no limit. Raises FatalError for a broken disk."""
    if not isinstance(location, Path):
        return None
    standing = next(folder for folder in (location, *location.parents) if folder.exists())
    with disk_errors_named(standing):
        return shutil.disk_usage(standing).free
