"""The folders that everything is remembered in: whether they are ours, closed to others, and have room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from eurosky_pipeline.artifacts.opening import check
from eurosky_pipeline.intake.folder import count_lists, faults_of
from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.preflight.findings import size
from eurosky_pipeline.registry.database import is_embedded
from eurosky_pipeline.settings import Settings

LEAST_FREE_BYTES = 256 * 1024 * 1024
FEW_FREE_BYTES = 4 * 1024**3
_NETWORK_KINDS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})


def look_at_home(settings: Settings) -> list[Diagnosis]:
    """`EUROSKY_HOME`: there or not yet, writable, and for its owner's eyes only."""
    home = settings.home
    if not home.exists():
        above = standing(home)
        if not os.access(above, os.W_OK | os.X_OK):
            hint = "make the folder and give it to this user, or set EUROSKY_HOME to another one"
            return [Diagnosis("home", Health.BAD, f"{home} cannot be made: {above} is not writable", hint)]
        return [Diagnosis("home", Health.OK, f"{home}: not there yet, the first command makes it")]
    if not home.is_dir():
        return [Diagnosis("home", Health.BAD, f"{home} is no folder", "set EUROSKY_HOME to one")]
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        hint = "give the folder to the user that runs eurosky, or set EUROSKY_HOME to another one"
        return [Diagnosis("home", Health.BAD, f"{home} is not writable", hint)]
    rows = []
    mode = home.stat().st_mode & 0o777
    if mode & 0o022:
        rows.append(Diagnosis("home", Health.BAD, f"{home} can be changed by others ({mode:o})", f"chmod 700 {home}"))
    elif mode & 0o055:
        rows.append(Diagnosis("home", Health.WARN, f"{home} can be read by others ({mode:o})", f"chmod 700 {home}"))
    else:
        rows.append(Diagnosis("home", Health.OK, f"{home}, for its owner only"))
    kind = _kind_of_disk(home)
    if kind in _NETWORK_KINDS and is_embedded(settings):
        rows.append(
            Diagnosis(
                "home",
                Health.BAD,
                f"{home} is on a network file system ({kind}), on which SQLite loses what it writes",
                "set EUROSKY_HOME to a local disk, or EUROSKY_DATABASE_URL to a PostgreSQL",
            )
        )
    return rows


def look_at_disk(settings: Settings) -> list[Diagnosis]:
    """Free room where scratch, artifacts and Dagster's own files go; folders on one disk are told once."""
    folders = {"home": settings.home, "Dagster": settings.resolved_dagster_home}
    artifacts = str(settings.resolved_artifacts)
    if "://" not in artifacts:
        folders["artifacts"] = Path(artifacts)
    by_disk: dict[int, tuple[Path, list[str]]] = {}
    for name, folder in folders.items():
        found = standing(folder)
        by_disk.setdefault(found.stat().st_dev, (found, []))[1].append(name)
    return [_room(folder, " and ".join(names)) for folder, names in by_disk.values()]


def look_at_artifacts(settings: Settings) -> list[Diagnosis]:
    """Artifacts on S3: a small file of its own name is kept there, fetched back and deleted; no row for a folder."""
    location = settings.resolved_artifacts
    if isinstance(location, Path):
        return []
    problem = check(location)
    if problem is not None:
        return [Diagnosis("artifacts", Health.BAD, f"{problem.message} [{problem.code}]", problem.hint)]
    return [Diagnosis("artifacts", Health.OK, f"{location}: a file was kept there, fetched back and deleted")]


def look_at_intake(settings: Settings) -> list[Diagnosis]:
    """The folder for lists: whether it can be used, what waits in it, and passwords that lie there; no row without."""
    path = settings.intake_folder
    if path is None:
        return []
    if "watched_folder" not in settings.intake_sources:
        hint = "put watched_folder into EUROSKY_INTAKE_SOURCES, or unset EUROSKY_INTAKE_FOLDER"
        return [Diagnosis("lists", Health.WARN, f"{path} is not looked at: no intake source does it", hint)]
    try:
        faults, worries = faults_of(path)
        counts = count_lists(path)
    except OSError as error:
        hint = "make the folder, for the user that runs eurosky: mkdir -m 700"
        return [Diagnosis("lists", Health.BAD, f"{path}: {error.strerror or type(error).__name__}", hint)]
    if not faults and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        faults = [f"{path} is not writable for this user, who takes the lists out of it"]
    hint = f"give it to who may register accounts, and to nobody else: chmod 700 {path}, or 1770 for a group"
    rows = [Diagnosis("lists", Health.BAD, fault, hint) for fault in faults]
    rows += [Diagnosis("lists", Health.WARN, f"{worry}: each is registered and started", hint) for worry in worries]
    if counts.rejected:
        found = f"{counts.rejected} lists of rows that were not taken, with passwords, are in {path / 'rejected'}"
        rows.append(Diagnosis("lists", Health.WARN, found, "correct them and move them back, or delete them"))
    found = f"{path}: {counts.waiting} lists wait, {counts.taking} are being taken"
    return rows if faults else [*rows, Diagnosis("lists", Health.OK, found)]


def _room(folder: Path, names: str) -> Diagnosis:
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} free for {names} ({folder})"
    if free >= FEW_FREE_BYTES:
        return Diagnosis("disk", Health.OK, found)
    hint = "make room; `eurosky migrations purge` deletes what finished migrations left"
    return Diagnosis("disk", Health.BAD if free < LEAST_FREE_BYTES else Health.WARN, found, hint)


def standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _kind_of_disk(folder: Path) -> str:
    """The file system's kind; empty where this machine does not tell."""
    real = folder.resolve()
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return ""
    fitting = [mount for mount in mounts if real.is_relative_to(mount.mountpoint)]
    return max(fitting, key=lambda mount: len(mount.mountpoint)).fstype if fitting else ""
