"""Progress in the foreground: bars on a terminal, a line a stage elsewhere. All on stderr."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class _AmountColumn(ProgressColumn):
    """Bytes as bytes, blobs as blobs."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._items = DownloadColumn(binary_units=True), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("summary"):
            return Text(str(task.fields["summary"]))
        return self._bytes.render(task) if task.fields.get("unit") == "B" else self._items.render(task)


def _own_stderr() -> TextIO:
    """A handle of our own on stderr; on nothing, where the shell has closed it."""
    try:
        return os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    except OSError:
        return Path(os.devnull).open("w", encoding="utf-8")


def _never_matters() -> suppress:
    """A terminal that has gone away must not decide what becomes of a migration."""
    return suppress(OSError, ValueError)


class ForegroundProgress:
    """A `transfer.progress.ProgressSink` that people can watch; a context manager."""

    def __init__(self) -> None:
        self._is_live = sys.stderr is not None and sys.stderr.isatty()
        # Dagster may capture this process's stderr for as long as a step runs; the terminal is kept by its own name
        self._terminal = _own_stderr()
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=30),
            _AmountColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._terminal, force_terminal=self._is_live or None),
            disable=not self._is_live,
        )
        self._tasks: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> ForegroundProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _never_matters():
            self._progress.stop()
            self._terminal.close()

    def begin(self, stage: str, total: int | None, unit: str, total_bytes: int | None = None) -> None:
        with _never_matters():
            self._begin(stage, total, unit)

    def advance(self, stage: str, amount: int, *, failed: int = 0) -> None:
        with _never_matters():
            self._progress.advance(self._tasks[stage][0], amount)

    def moved(self, stage: str, byte_count: int) -> None:
        """Not shown yet."""

    def note(self, stage: str, text: str) -> None:
        """Not shown yet."""

    def end(self, stage: str, summary: str) -> None:
        with _never_matters():
            self._end(stage, summary)

    def _begin(self, stage: str, total: int | None, unit: str) -> None:
        self._tasks[stage] = (self._progress.add_task(stage.ljust(22), total=total, unit=unit), time.monotonic())

    def _end(self, stage: str, summary: str) -> None:
        task, started_s = self._tasks[stage]
        done = self._progress.tasks[self._progress.task_ids.index(task)]
        total = done.total or done.completed or 1
        self._progress.update(task, total=total, completed=total, summary=summary)
        if not self._is_live:
            print(f"{stage:22} {summary} ({time.monotonic() - started_s:.1f} s)", file=self._terminal, flush=True)
