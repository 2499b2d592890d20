"""What has become of each row of a list, written down as it is known, so that the process may end at any moment.

    taking/<name>.progress.json    how far it has come, and how long the two below are by that
    taking/<name>.outcomes         a line of JSON for each row
    taking/<name>.rows             the rows that were rejected, as they stand in the list, below its header

What was appended after the last progress was written is cut off when the list is taken up again; those rows are
offered anew, and the registry knows them. Every function raises OSError for a disk that is full or broken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

from eurosky_pipeline.intake.folder import REJECTED, Folder, called, moment_of, open_own, replace_file
from eurosky_pipeline.plugins.intake_sources import Reply
from eurosky_pipeline.words import one_line

PROGRESS, OUTCOMES, ROWS = ".progress.json", ".outcomes", ".rows"
RESULT: Final = ".result.json"
_SAVED_EVERY: Final = 1_000
_SHOWN_REASON: Final = 300


@dataclass(slots=True)
class Progress:
    """How far a list has come, in bytes of the list, of its outcomes and of its rejected rows; and what came of it."""

    offset: int = 0
    outcomes_bytes: int = 0
    rows_bytes: int = 0
    rows_lines: int = 0
    added: int = 0
    unchanged: int = 0
    rejected: int = 0
    fault: str = ""


class ListBook:
    """The book of one list; one that was begun before goes on where it was saved last."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self.progress = _progress(folder, name)
        self._outcomes: IO[bytes] | None = None
        self._rows: IO[bytes] | None = None
        self._unsaved = 0

    def give_up(self, reason: str) -> None:
        """Nothing of the list was taken."""
        self.progress = Progress(fault=one_line(reason, _SHOWN_REASON))

    def take(self, line: int, reply: Reply, token: str | None, warning: str) -> None:
        """A row, by its line in the list, is in the registry."""
        self.progress.added += reply is Reply.ADDED
        self.progress.unchanged += reply is Reply.UNCHANGED
        told = {"line": line, "outcome": str(reply), "token": token}
        self._tell(told | ({"warning": one_line(warning, _SHOWN_REASON)} if warning else {}))

    def reject(self, line: int, reason: str, header: bytes, text: bytes) -> None:
        """A row was rejected: its text, as it stands in the list, is kept below the header, for who mends it."""
        self.progress.rejected += 1
        kept_at = self._keep(header, text)
        self._tell({"line": line, "reason": one_line(reason, _SHOWN_REASON), "line_in_rejected": kept_at})

    def reach(self, offset: int) -> None:
        """All rows that end before this byte of the list are put down; now and then that is made sure of."""
        self.progress.offset = offset
        self._unsaved += 1
        if self._unsaved >= _SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """So far it has come, also if the machine fails now."""
        for file in (self._outcomes, self._rows):
            if file is not None:
                file.flush()
                os.fsync(file.fileno())
        self._unsaved = 0
        replace_file(self._folder.taking, self._name + PROGRESS, json.dumps(asdict(self.progress)).encode())

    def close(self) -> None:
        for file in (self._outcomes, self._rows):
            if file is not None:
                file.close()
        self._outcomes = self._rows = None

    def write_result(self, place: int) -> None:
        """One JSON object, its two lists row by row, since there may be hundreds of thousands; none for a list of which
        nothing was taken.

        Args:
            place: descriptor of the folder for it.
        """
        head = json.dumps(self._result(), indent=1)
        if self.progress.fault:
            replace_file(place, self._name + RESULT, f"{head}\n".encode())
            return
        partial = f".{self._name}.tmp"
        with os.fdopen(open_own(place, partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(head.removesuffix("\n}").encode())
            for key, is_rejected in (("rejected", True), ("accounts", False)):
                file.write(f',\n "{key}": ['.encode())
                separator = b"\n  "
                for told in self._told():
                    if ("reason" in told) is is_rejected:
                        file.write(separator + json.dumps(told).encode())
                        separator = b",\n  "
                file.write(b"]")
            file.write(b"\n}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._name + RESULT, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)

    def delete(self) -> None:
        """The rows that were rejected too, where nobody has moved them away."""
        for suffix in (ROWS, OUTCOMES, PROGRESS):
            with suppress(FileNotFoundError):
                os.unlink(self._name + suffix, dir_fd=self._folder.taking)

    def _tell(self, told: Mapping[str, Any]) -> None:
        if self._outcomes is None:
            self._outcomes = self._appended(OUTCOMES, self.progress.outcomes_bytes)
        self.progress.outcomes_bytes += self._outcomes.write(json.dumps(told).encode() + b"\n")

    def _keep(self, header: bytes, text: bytes) -> int:
        """Put a rejected row to the others; its line among them."""
        progress = self.progress
        if self._rows is None:
            self._rows = self._appended(ROWS, progress.rows_bytes)
        above = header if progress.rows_bytes == 0 else b""
        written = above + text.lstrip(b"\r\n") + (b"" if text.endswith(b"\n") else b"\n")
        line = progress.rows_lines + above.count(b"\n") + 1
        progress.rows_bytes += self._rows.write(written)
        progress.rows_lines += written.count(b"\n")
        return line

    def _appended(self, suffix: str, length: int) -> IO[bytes]:
        descriptor = open_own(self._folder.taking, self._name + suffix, os.O_RDWR | os.O_CREAT)
        file = os.fdopen(descriptor, "r+b")
        file.truncate(length)
        file.seek(length)
        return file

    def _result(self) -> dict[str, Any]:
        progress = self.progress
        found: dict[str, Any] = {
            "list": called(self._name),
            "taken_at": moment_of(self._name),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "added": progress.added,
            "unchanged": progress.unchanged,
            "rejected_rows": f"{REJECTED}/{self._name}" if progress.rejected or progress.fault else None,
        }
        return found | ({"fault": progress.fault} if progress.fault else {})

    def _told(self) -> Iterator[Mapping[str, Any]]:
        with suppress(FileNotFoundError):
            descriptor = open_own(self._folder.taking, self._name + OUTCOMES, os.O_RDONLY)
            with os.fdopen(descriptor, "rb") as file:
                yield from map(json.loads, file)


def sweep(folder: Folder) -> None:
    """Delete the books of lists that are ended: their process ended in the midst of it."""
    names = set(os.listdir(folder.taking))  # noqa: PTH208 - a descriptor
    for name in names:
        for suffix in (PROGRESS, OUTCOMES, ROWS):
            if name.endswith(suffix) and name.removesuffix(suffix) not in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder.taking)


def _progress(folder: Folder, name: str) -> Progress:
    """As it was saved last; from the beginning, if it was not, or cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        descriptor = open_own(folder.taking, name + PROGRESS, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            return Progress(**json.load(file))
    return Progress()
