"""Progress in the foreground: bars on a terminal, a line now and then elsewhere. All on stderr."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

from rich.console import Console, RenderableType
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

from eurosky_pipeline.cli.meter import Meter

LINE_INTERVAL_S: Final = 10.0
"""Between two lines, where there is no terminal."""


class _AmountColumn(ProgressColumn):
    """Bytes as bytes, blobs as blobs."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._items = DownloadColumn(binary_units=True), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("summary"):
            return Text(str(task.fields["summary"]))
        return self._bytes.render(task) if task.fields.get("unit") == "B" else self._items.render(task)


class _Bars(Progress):
    """A bar a stage; below them, for the stage that goes on, what is known beside the amount."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            facts = "" if task.finished else task.fields["meter"].read().facts
            if facts:
                yield Text(f"  {facts}", no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True, slots=True)
class _Stage:
    task: TaskID
    meter: Meter


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
    """A `transfer.progress.ProgressSink` that people can watch; a context manager.

    Args:
        line_interval_s: between two lines of a stage that takes long, where there is no terminal.
    """

    def __init__(self, line_interval_s: float = LINE_INTERVAL_S) -> None:
        self._is_live = sys.stderr is not None and sys.stderr.isatty()
        # Dagster may capture this process's stderr for as long as a step runs; the terminal is kept by its own name
        self._terminal = _own_stderr()
        self._progress = _Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=16),
            _AmountColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._terminal, force_terminal=self._is_live or None),
            disable=not self._is_live,
        )
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()
        self._line_interval_s = line_interval_s
        self._is_over = threading.Event()
        self._lines = threading.Thread(target=self._print_lines, name="progress lines", daemon=True)

    def __enter__(self) -> ForegroundProgress:
        self._progress.start()
        if not self._is_live:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if not self._is_live:
            self._lines.join()
        with _never_matters():
            self._progress.stop()
            self._terminal.close()

    def begin(self, stage: str, total: int | None, unit: str, total_bytes: int | None = None) -> None:
        with _never_matters():
            self._forget(stage)  # of an attempt that came to nothing
            meter = Meter(total, unit, total_bytes)
            task = self._progress.add_task(stage.ljust(22), total=total, unit=unit, meter=meter)
            with self._lock:
                self._stages[stage] = _Stage(task, meter)

    def advance(self, stage: str, amount: int, *, failed: int = 0) -> None:
        with _never_matters():
            if known := self._stages.get(stage):
                known.meter.advance(amount, failed)
                self._progress.advance(known.task, amount)

    def moved(self, stage: str, byte_count: int) -> None:
        if known := self._stages.get(stage):
            known.meter.moved(byte_count)

    def note(self, stage: str, text: str) -> None:
        if known := self._stages.get(stage):
            known.meter.note(text)

    def end(self, stage: str, summary: str) -> None:
        with _never_matters():
            with self._lock:
                known = self._stages.pop(stage, None)
            if known is None:
                return
            done = self._progress.tasks[self._progress.task_ids.index(known.task)]
            total = done.total or done.completed or 1
            self._progress.update(known.task, total=total, completed=total, summary=summary)
            if not self._is_live:
                self._print(f"{stage:22} {summary} ({known.meter.elapsed_s:.1f} s)")

    def _forget(self, stage: str) -> None:
        with self._lock:
            known = self._stages.pop(stage, None)
        if known is not None:
            self._progress.remove_task(known.task)

    def _print_lines(self) -> None:
        """Say how far the stages are, every so many seconds: a wait of minutes must not look like a hang."""
        while not self._is_over.wait(self._line_interval_s):
            with self._lock:
                under_way = dict(self._stages)
            for stage, known in under_way.items():
                reading = known.meter.read()
                with _never_matters():
                    self._print(f"{stage:22} " + ", ".join(part for part in (reading.amount, reading.facts) if part))

    def _print(self, line: str) -> None:
        print(line, file=self._terminal, flush=True)
