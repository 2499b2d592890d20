"""What a command takes for a repository: every command a process of its own, measured whole by a small launcher."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.document import tell
from benchmarks.legacy_repository import LEGACY_SHARE, write_legacy_repository

_HERE = Path(__file__).parent
EUROSKY = Path(sys.executable).with_name("eurosky")


@dataclass(frozen=True, slots=True)
class Repository:
    """A file to convert, and what it is like; see `write_legacy_repository`."""

    file: Path
    records: int
    legacy_share: float = LEGACY_SHARE
    imported_share: float = 1.0

    @property
    def sizes(self) -> Path:
        """The file of its blobs' sizes."""
        return self.file.with_suffix(".json")

    def write(self) -> None:
        """Make the file, and that of the sizes."""
        written = write_legacy_repository(
            self.file, self.records, legacy_share=self.legacy_share, imported_share=self.imported_share
        )
        written.save_sizes(self.sizes)

    def converted(self, command: str) -> Path:
        """The file that the command makes of it."""
        return self.file.with_suffix(f".{command}.car")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took: `cpu_s` user and system seconds, `peak_mb` of memory in 10⁶ bytes; and what it printed.

    Attributes:
        wall_s: on the clock, its start included.
    """

    cpu_s: float
    peak_mb: float
    result: Any
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: what a command took on a database, beyond what it takes where there is nothing to do."""

    database: str
    what: str
    taken: Taken
    idle: Taken

    @property
    def wall_s(self) -> float:
        return max(0.0, self.taken.wall_s - self.idle.wall_s)

    @property
    def cpu_s(self) -> float:
        return max(0.0, self.taken.cpu_s - self.idle.cpu_s)

    @property
    def above_mb(self) -> float:
        return max(0.0, self.taken.peak_mb - self.idle.peak_mb)


class Measurements:
    """Runs commands on repositories; the best round of each counts.

    What a command takes for a repository of one record is its start, and subtracted from its seconds.
    """

    def __init__(self, folder: Path) -> None:
        self._ones = [
            Repository(folder / f"start-{number}.car", 1, share) for number, share in enumerate((0.0, LEGACY_SHARE))
        ]
        for one in self._ones:
            one.write()
        self._rounds: dict[tuple[str, Path], list[Taken]] = {}

    def run(self, commands: Sequence[str], repositories: Iterable[Repository], rounds: int) -> None:
        """Let the commands take turns on the repositories, several times over."""
        pairs = [(command, repository) for repository in repositories for command in commands]
        for number in range(rounds):
            for command, repository in pairs:
                for measured in (self._one_for(repository), repository):
                    taken = launch(_words(command, measured))
                    self._rounds.setdefault((command, measured.file), []).append(taken)
                name = f"round {number + 1} of {rounds}: {command} {repository.file.stem}"
                tell(f"{name}: {taken.cpu_s:.2f} s with its start, {taken.peak_mb:.0f} MB")

    def of(self, command: str, repository: Repository) -> Taken:
        """The least seconds, the start's subtracted, and the least memory."""
        rounds = self._rounds[command, repository.file]
        starts = self._rounds[command, self._one_for(repository).file]
        cpu_s = min(taken.cpu_s for taken in rounds) - min(taken.cpu_s for taken in starts)
        return Taken(cpu_s, min(taken.peak_mb for taken in rounds), rounds[-1].result)

    def _one_for(self, repository: Repository) -> Repository:
        """As little, with the same modules imported."""
        return self._ones[repository.legacy_share > 0]


def launch(words: Sequence[object]) -> Taken:
    """Run a command that prints one JSON value. Raises RuntimeError if it fails."""
    launcher = [sys.executable, "-I", "-S", _HERE / "launch.py", *words]
    done = subprocess.run(list(map(str, launcher)), stdout=subprocess.PIPE, cwd=_HERE.parent, check=True)
    taken = json.loads(done.stdout)
    if taken["exit_code"] != 0:
        raise RuntimeError(f"it failed: {' '.join(map(str, words))}\n{taken['output']}")
    return Taken(taken["cpu_s"], taken["peak_bytes"] / 1e6, json.loads(taken["output"]), taken["wall_s"])


def _words(command: str, repository: Repository) -> list[object]:
    source, target, sizes = repository.file, repository.converted(command), repository.sizes
    if command == "baseline":
        return [sys.executable, "-m", "benchmarks.baseline", source]
    if command == "rebuild":
        return [sys.executable, "-m", "benchmarks.rebuild", source, target, sizes]
    return [EUROSKY, "car", "convert", source, target, "--blob-sizes", sizes, "--json"]
