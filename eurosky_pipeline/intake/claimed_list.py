"""A list that was taken out of the folder, on its way into the registry, row by row; `list_book` has what became of
each."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.intake.csv_rows import read_csv
from eurosky_pipeline.intake.folder import REJECTED, TAKEN, Folder, called, open_file
from eurosky_pipeline.intake.json_rows import read_json_lines
from eurosky_pipeline.intake.lines import Lines
from eurosky_pipeline.intake.list_book import RESULT, ROWS, ListBook
from eurosky_pipeline.intake.rows import MAX_ROW_BYTES, Rejected, Row
from eurosky_pipeline.plugins.intake_sources import ACCOUNT_FIELDS, Reply

MAX_LIST_BYTES: Final = 64 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


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
        self._book = ListBook(folder, name)
        self._under_way: deque[Drawn] = deque()
        self._header = b""
        self._shape: tuple[int, int] | None = None
        self._is_gone = False
        self.is_drawn = False

    def rows(self) -> Iterator[Drawn]:
        """The rows that are left. A list that is none is at its end at once, with its `fault`."""
        self._book.progress.fault = ""
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
            self._put_down(self._under_way.popleft())

    def save(self) -> None:
        """So far it has come, also if the machine fails now."""
        self._book.save()

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left but to end it."""
        return self.is_drawn and not self._under_way

    def end(self) -> str:
        """Write the result, and delete the list with its passwords; a line for people, or none.

        The rows that were rejected stay, in a list of their own. Where the list has grown meanwhile it is not ended.
        """
        progress, taking = self._book.progress, self._folder.taking
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
        self._book.write_result(place)
        origin = self.name if is_whole_refused else self.name + ROWS
        with suppress(FileNotFoundError):  # it was moved before the process ended
            os.rename(origin, self.name, src_dir_fd=taking, dst_dir_fd=self._folder.rejected)
            os.fsync(self._folder.rejected)
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=taking)
        self._book.delete()
        if is_whole_refused:
            return f"{self.called}: nothing of it could be taken: {progress.fault}; {place_name}/{self.name}"
        return (
            f"{self.called}: {progress.added} added, {progress.unchanged} unchanged, {progress.rejected} rejected; "
            f"{place_name}/{self.name}{RESULT}"
        )

    def close(self) -> None:
        self._book.close()

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
            if position > self._book.progress.offset:
                drawn = Drawn(item.line, start, position, item)
                self._under_way.append(drawn)
                yield drawn
            start = position

    def _put_down(self, drawn: Drawn) -> None:
        reply, token, reason = drawn.answer or (Reply.REJECTED, None, "")
        if reply is Reply.REJECTED:
            self._book.reject(drawn.line, reason, self._header, self._text(drawn))
        else:
            self._book.take(drawn.line, reply, token, reason)
        self._book.reach(drawn.end)

    def _text(self, drawn: Drawn) -> bytes:
        """The row as it stands in the list; nothing where the list cannot be read any more."""
        with suppress(OSError):
            descriptor = open_file(self._folder.taking, self.name)
            try:
                return os.pread(descriptor, drawn.end - drawn.start, drawn.start)
            finally:
                os.close(descriptor)
        return b""

    def _give_up(self, reason: str) -> None:
        """Nothing of it was taken; it goes to the rejected ones as it is."""
        self._under_way.clear()
        self._book.give_up(reason)
        self.is_drawn = True

    def _shape_now(self) -> tuple[int, int] | None:
        with suppress(OSError):
            found = os.stat(self.name, dir_fd=self._folder.taking, follow_symlinks=False)
            return found.st_size, found.st_mtime_ns
        return None


def _fault_of(error: SettingsError) -> str:
    """Of a list as such. No variable of the environment can be named here, and none is offered."""
    if error.code == "list_columns":
        return f"{error.message} → the columns are {', '.join(ACCOUNT_FIELDS)}"
    return error.with_hint()


def _header(file: IO[bytes]) -> bytes:
    """All up to the end of the line that names the columns; the file is at its beginning again."""
    found = b""
    while line := file.readline(MAX_ROW_BYTES):
        found += line
        if line.removeprefix(_BOM).strip() or len(found) > MAX_ROW_BYTES:
            break
    file.seek(0)
    return found
