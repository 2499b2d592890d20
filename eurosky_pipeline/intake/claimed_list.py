"""A list that was taken out of the folder, on its way into the registry: what has become of each row is written down
as it is known, so that the process may end at any moment.

    taking/<name>                  the list
    taking/<name>.progress.json    how far it has come, and how long the two below are by that
    taking/<name>.outcomes         a line of JSON for each row
    taking/<name>.rows             the rows that were rejected, as they stand in the list, below its header

What was appended after the last progress was written is cut off when the list is taken up again; those rows are
offered anew, and the registry knows them.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, Final

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.csv_rows import read_csv
from eurosky_pipeline.intake.folder import (
    REJECTED,
    TAKEN,
    Folder,
    called,
    moment_of,
    open_file,
    open_own,
    replace_file,
)
from eurosky_pipeline.intake.json_rows import read_json_lines
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.rows import MAX_ROW_BYTES, Rejected, Row
from eurosky_pipeline.plugins.intake_sources import ACCOUNT_FIELDS, Reply
from eurosky_pipeline.words import one_line

MAX_LIST_BYTES: Final = 64 * 1024 * 1024
PROGRESS, OUTCOMES, ROWS = ".progress.json", ".outcomes", ".rows"
RESULT: Final = ".result.json"
_BOM: Final = b"\xef\xbb\xbf"
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


@dataclass(slots=True)
class Drawn:
    """A row under way: its line, and where it ends in the list. `answer` is None until it is known."""

    line: int
    start: int
    end: int
    item: Row | Rejected = field(repr=False)
    answer: tuple[Reply, str | None, str] | None = None


class ClaimedList:
    """One list. Every method raises OSError for a disk that is full or broken."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self.name, self.called = folder, name, called(name)
        self.progress = _progress(folder, name)
        self._under_way: deque[Drawn] = deque()
        self._outcomes: IO[bytes] | None = None
        self._rows: IO[bytes] | None = None
        self._header = b""
        self._shape: tuple[int, int] | None = None
        self._unsaved = 0
        self._is_gone = False
        self.is_drawn = False

    def rows(self) -> Iterator[Drawn]:
        """The rows that are left. A list that is none is at its end at once, with its `fault`."""
        self.progress.fault = ""
        try:
            descriptor = open_file(self._folder.taking, self.name)
        except FileNotFoundError:  # on a disk without locks, another process has ended it
            self._is_gone = self.is_drawn = True
            return
        except OSError as error:
            self._give_up(f"it cannot be read: {error.strerror or type(error).__name__}")
            return
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            self._shape = (found.st_size, found.st_mtime_ns)
            if found.st_size > MAX_LIST_BYTES:
                self._give_up(f"it is longer than {MAX_LIST_BYTES // 1024**2} MiB: split it")
                return
            try:
                yield from self._left(file)
            except SettingsError as error:
                self._give_up(_fault_of(error))
                return
        self.is_drawn = True

    def answer(self, drawn: Drawn, reply: Reply, token: str | None, reason: str) -> None:
        """What became of a row; written down once all before it are."""
        drawn.answer = (reply, token, reason)
        while self._under_way and self._under_way[0].answer is not None:
            self._write(self._under_way.popleft())
        if self._unsaved >= _SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """So far it has come, also if the machine fails now."""
        for file in (self._outcomes, self._rows):
            if file is not None:
                file.flush()
                os.fsync(file.fileno())
        self._unsaved = 0
        replace_file(self._folder.taking, self.name + PROGRESS, json.dumps(asdict(self.progress)).encode())

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left but to end it."""
        return self.is_drawn and not self._under_way

    def end(self) -> str:
        """Write the result, and delete the list with its passwords; a line for people, or none.

        The rows that were rejected stay, in a list of their own. Where the list has grown meanwhile it is not ended.
        """
        progress, taking = self.progress, self._folder.taking
        if self._is_gone:
            self.close()
            return ""
        if not progress.fault:
            if self._shape != self._shape_now():
                self.is_drawn = False
                return f"{self.called} is still being written to: the next tick goes on with it"
            self.save()
        self.close()
        is_whole_refused = bool(progress.fault)
        is_taken = not is_whole_refused and (progress.added or progress.unchanged or not progress.rejected)
        place, place_name = (self._folder.taken, TAKEN) if is_taken else (self._folder.rejected, REJECTED)
        origin = self.name if is_whole_refused else self.name + ROWS
        if not is_whole_refused:
            self._write_result(place)
        else:
            replace_file(place, self.name + RESULT, (json.dumps(self._result(), indent=1) + "\n").encode())
        with suppress(FileNotFoundError):  # it was moved before the process ended
            os.rename(origin, self.name, src_dir_fd=taking, dst_dir_fd=self._folder.rejected)
            os.fsync(self._folder.rejected)
        for name in (self.name, self.name + ROWS, self.name + OUTCOMES, self.name + PROGRESS):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=taking)
        if is_whole_refused:
            return f"{self.called}: nothing of it could be taken: {progress.fault}; {place_name}/{self.name}"
        return (
            f"{self.called}: {progress.added} added, {progress.unchanged} unchanged, {progress.rejected} rejected; "
            f"{place_name}/{self.name}{RESULT}"
        )

    def close(self) -> None:
        for file in (self._outcomes, self._rows):
            if file is not None:
                file.close()
        self._outcomes = self._rows = None

    def _left(self, file: IO[bytes]) -> Iterator[Drawn]:
        is_json = self.name.lower().endswith((".jsonl", ".ndjson"))
        self._header = b"" if is_json else _header(file)
        position = 0

        def advance(count: int) -> None:
            nonlocal position
            position += count

        lines = Lines(file, advance)
        start = len(self._header)
        for item in read_json_lines(lines) if is_json else read_csv(lines):
            if position > self.progress.offset:
                drawn = Drawn(item.line, start, position, item)
                self._under_way.append(drawn)
                yield drawn
            start = position

    def _write(self, drawn: Drawn) -> None:
        reply, token, reason = drawn.answer or (Reply.REJECTED, None, "")
        progress = self.progress
        if self._outcomes is None:
            self._outcomes = self._appended(OUTCOMES, progress.outcomes_bytes)
        told: dict[str, Any] = {"line": drawn.line}
        if reply is Reply.REJECTED:
            progress.rejected += 1
            told |= {"reason": one_line(reason, _SHOWN_REASON), "line_in_rejected": self._keep(drawn)}
        else:
            progress.added += reply is Reply.ADDED
            progress.unchanged += reply is Reply.UNCHANGED
            told |= {"outcome": str(reply), "token": token}
            if reason:
                told["warning"] = one_line(reason, _SHOWN_REASON)
        progress.outcomes_bytes += self._outcomes.write(json.dumps(told).encode() + b"\n")
        progress.offset = drawn.end
        self._unsaved += 1

    def _keep(self, drawn: Drawn) -> int:
        """Put a rejected row, as it stands in the list, to the others; its line among them."""
        progress = self.progress
        if self._rows is None:
            self._rows = self._appended(ROWS, progress.rows_bytes)
        raw = b""
        with suppress(OSError):
            descriptor = open_file(self._folder.taking, self.name)
            try:
                raw = os.pread(descriptor, drawn.end - drawn.start, drawn.start)
            finally:
                os.close(descriptor)
        header = self._header if progress.rows_bytes == 0 else b""
        text = header + raw.lstrip(b"\r\n") + (b"" if raw.endswith(b"\n") else b"\n")
        line = progress.rows_lines + header.count(b"\n") + 1
        progress.rows_bytes += self._rows.write(text)
        progress.rows_lines += text.count(b"\n")
        return line

    def _appended(self, suffix: str, length: int) -> IO[bytes]:
        descriptor = open_own(self._folder.taking, self.name + suffix, os.O_RDWR | os.O_CREAT)
        file = os.fdopen(descriptor, "r+b")
        file.truncate(length)
        file.seek(length)
        return file

    def _give_up(self, reason: str) -> None:
        """Nothing of it was taken; it goes to the rejected ones as it is."""
        self._under_way.clear()
        self.progress = Progress(fault=one_line(reason, _SHOWN_REASON))
        self.is_drawn = True

    def _shape_now(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = os.stat(self.name, dir_fd=self._folder.taking, follow_symlinks=False)
            return found.st_size, found.st_mtime_ns
        return None

    def _result(self) -> dict[str, Any]:
        progress = self.progress
        found: dict[str, Any] = {
            "list": self.called,
            "taken_at": moment_of(self.name),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "added": progress.added,
            "unchanged": progress.unchanged,
            "rejected_rows": f"{REJECTED}/{self.name}" if progress.rejected or progress.fault else None,
        }
        return found | ({"fault": progress.fault} if progress.fault else {})

    def _write_result(self, place: int) -> None:
        """One JSON object, its two lists row by row: there may be hundreds of thousands."""
        partial = f".{self.name}.tmp"
        with os.fdopen(open_own(place, partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(json.dumps(self._result(), indent=1).removesuffix("\n}").encode())
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
        os.replace(partial, self.name + RESULT, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)

    def _told(self) -> Iterator[Mapping[str, Any]]:
        with suppress(FileNotFoundError):
            descriptor = open_own(self._folder.taking, self.name + OUTCOMES, os.O_RDONLY)
            with os.fdopen(descriptor, "rb") as file:
                yield from map(json.loads, file)


def sweep(folder: Folder) -> None:
    """Delete what lists have left beside them that are ended: their process ended in the midst of it."""
    names = set(os.listdir(folder.taking))  # noqa: PTH208 - a descriptor
    for name in names:
        for suffix in (PROGRESS, OUTCOMES, ROWS):
            if name.endswith(suffix) and name.removesuffix(suffix) not in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder.taking)


def _fault_of(error: SettingsError) -> str:
    """Of a list as such. No variable of the environment can be named here, and none is offered."""
    if error.code == "list_columns":
        return f"{error.message} → the columns are {', '.join(ACCOUNT_FIELDS)}"
    return error.with_hint()


def _progress(folder: Folder, name: str) -> Progress:
    """As it was saved last; from the beginning, if it was not, or cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        descriptor = open_own(folder.taking, name + PROGRESS, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            return Progress(**json.load(file))
    return Progress()


def _header(file: IO[bytes]) -> bytes:
    """All up to the end of the line that names the columns; the file is at its beginning again."""
    found = b""
    while line := file.readline(MAX_ROW_BYTES):
        found += line
        if line.removeprefix(_BOM).strip() or len(found) > MAX_ROW_BYTES:
            break
    file.seek(0)
    return found
