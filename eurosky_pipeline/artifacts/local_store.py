"""Artifacts in a local folder.

    <folder>/<token>/account.car          on one file system a second name of the scratch file: no second place
    <folder>/<token>/account.car.sha256   its sum, in the form that `sha256sum --check` reads

The sum is taken when the file is kept, and compared when scratch was cleared and the file is fetched back; a file
without one, which an older version of the program has kept, is taken as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX, disk_errors_named, link_or_copy, require_room, sha256_of
from eurosky_pipeline.artifacts.store import Removed, Stored, damaged, missing

SUM_SUFFIX = ".sha256"


class LocalStore:
    """The artifacts of one migration, in a folder of its own, which is made here. Raises as ArtifactStore says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with disk_errors_named(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def uri(self, name: str) -> str:
        return str(self._folder / name)

    def put(self, local: Path, name: str) -> Stored:
        kept, sum_file = self._folder / name, self._sum_file(name)
        with disk_errors_named(kept):
            sha256, size_bytes = sha256_of(local), local.stat().st_size
            # killed in between, a file without a sum is better than one with that of another file
            sum_file.unlink(missing_ok=True)
            link_or_copy(local, kept)
            partial = sum_file.with_name(sum_file.name + PARTIAL_SUFFIX)
            partial.write_text(f"{sha256}  {name}\n")
            partial.replace(sum_file)
        return Stored(str(kept), size_bytes, sha256)

    def get(self, name: str, local: Path) -> None:
        kept = self._folder / name
        found = self.describe(name)
        if found is None:
            raise missing(name)
        with disk_errors_named(kept):
            if found.sha256 and sha256_of(kept) != found.sha256:
                raise damaged(str(kept), "is not the file that was kept there: its SHA-256 is another")
        if kept.stat().st_dev != local.parent.stat().st_dev:
            require_room(local.parent, found.size_bytes)
        with disk_errors_named(local):
            link_or_copy(kept, local)

    def describe(self, name: str) -> Stored | None:
        kept = self._folder / name
        with disk_errors_named(kept):
            try:
                size_bytes = kept.stat().st_size
            except FileNotFoundError:
                return None
            return Stored(str(kept), size_bytes, self._sum(name))

    def delete(self, *names: str) -> None:
        for name in names:
            with disk_errors_named(self._folder / name):
                self._sum_file(name).unlink(missing_ok=True)
                (self._folder / name).unlink(missing_ok=True)

    def delete_all(self) -> Removed:
        return remove_folder(self._folder)

    def clear_leftovers(self) -> None:
        for path in self._folder.glob(f"*{PARTIAL_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _sum_file(self, name: str) -> Path:
        return self._folder / (name + SUM_SUFFIX)

    def _sum(self, name: str) -> str:
        try:
            words = self._sum_file(name).read_text(errors="replace").split()
        except FileNotFoundError:
            return ""
        return words[0] if words else "unreadable"


def remove_folder(folder: Path) -> Removed:
    """Remove a folder with everything in it. The bytes are those that nobody holds by another name.

    Raises: FatalError `disk` where something in it cannot be removed.
    """
    names: list[str] = []
    size_bytes = 0
    with disk_errors_named(folder):
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_dir():
                found = path.lstat()
                names.append(f"{folder.parent.name}/{folder.name}/{path.relative_to(folder)}")
                size_bytes += found.st_size if found.st_nlink == 1 else 0
                path.unlink()
        if folder.exists():
            shutil.rmtree(folder)
    return Removed(tuple(names), size_bytes)
