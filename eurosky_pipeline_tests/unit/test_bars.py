"""Progress in the foreground: on a terminal, where there is none, and where it has gone away."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from eurosky_pipeline.cli.bars import ForegroundProgress


@contextmanager
def broken_stderr() -> Iterator[None]:
    """Stderr is a pipe that nobody reads. Not a fixture: pytest puts stderr back between a fixture and its test."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_closed_pipe_is_no_error() -> None:
    with broken_stderr(), ForegroundProgress(line_interval_s=0.01) as progress:
        progress.begin("exported_car", None, "B")
        progress.advance("exported_car", 10)
        progress.end("exported_car", "done")
        progress.begin("imported_repo", 5, "B")
        time.sleep(0.1)
        progress.end("imported_repo", "done")


def test_a_stage_is_one_line_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with ForegroundProgress() as progress:
        progress.begin("exported_car", None, "B")
        progress.advance("exported_car", 10)
        progress.end("exported_car", "3 records")
    assert capfd.readouterr().err.startswith("exported_car           3 records (")


class Terminal:
    """A pseudo-terminal in the place of stderr, and all that was drawn on it."""

    def __init__(self, reading: int) -> None:
        self._reading, self._drawn = reading, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._reading, 65536):
                self._drawn += chunk
        except OSError:
            pass  # the other side is closed

    def text(self) -> str:
        """Without what moves the cursor and colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._drawn.decode(errors="ignore"))

    def wait_for(self, text: str) -> None:
        deadline_s = time.monotonic() + 30
        while text not in self.text():
            assert time.monotonic() < deadline_s, f"{text!r} is not in {self.text()[-500:]!r}"
            time.sleep(0.02)


@contextmanager
def a_terminal(columns: int = 100) -> Iterator[Terminal]:
    """A pseudo-terminal as stderr. Not a fixture, as above."""
    kept = os.dup(2)
    reading, writing = pty.openpty()
    os.dup2(writing, 2)
    try:
        with pytest.MonkeyPatch.context() as patch, os.fdopen(writing, "w") as stderr:
            for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
                patch.delenv(name, raising=False)
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("TERM", "xterm")
            patch.setattr(sys, "stderr", stderr)
            yield Terminal(reading)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_a_terminal_shows_blobs_bytes_rate_time_left_failures_and_waits() -> None:
    with a_terminal() as terminal, ForegroundProgress() as progress:
        progress.begin("transferred_blobs", 2_000, "blobs")
        progress.moved("transferred_blobs", 3 * 1024 * 1024)
        progress.advance("transferred_blobs", 20, failed=2)
        progress.note("transferred_blobs", "waiting 32 s for pds.example's rate limit")
        terminal.wait_for("20/2000")
        terminal.wait_for("  3.0 MiB, 2 failed; waiting 32 s for pds.example's rate limit")
        terminal.wait_for("MiB/s, ")
        terminal.wait_for(" left, 2 failed; waiting")
        progress.end("transferred_blobs", "1,998 of 2,000 blobs, 3.0 MiB")
        terminal.wait_for("✓ transferred_blobs      ━━━━━━━━━━━━━━━━ 1,998 of 2,000 blobs, 3.0 MiB 0:00:0")


def test_a_terminal_is_not_drawn_on_by_a_server() -> None:
    with a_terminal() as terminal, ForegroundProgress() as progress:
        progress.begin("transferred_blobs", 10, "blobs")
        progress.note("transferred_blobs", "[bold]no\x1b]0;title\x07[/nonsense] " + "x" * 500)
        terminal.wait_for("[bold]no ]0;title [/nonsense] ")
    assert "\x1b]0" not in terminal.text()
    assert not any(line.startswith("x") for line in terminal.text().splitlines()), "nor over a second line"


def test_a_stage_that_begins_again_has_one_bar() -> None:
    with a_terminal() as terminal, ForegroundProgress() as progress:
        progress.begin("transferred_blobs", 10, "blobs")
        progress.advance("transferred_blobs", 7)
        terminal.wait_for("7/10")
        progress.begin("transferred_blobs", 3, "blobs")
        terminal.wait_for("0/3")
        progress.end("transferred_blobs", "all of them")
        terminal.wait_for("all of them")
        text = terminal.text()
    assert "7/10" not in text[text.index("0/3") :]


def test_a_long_stage_is_a_line_now_and_then_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    began_s = time.monotonic()
    with ForegroundProgress(line_interval_s=0.2) as progress:
        progress.begin("transferred_blobs", 2_000, "blobs")
        for _ in range(100):
            progress.moved("transferred_blobs", 1024)
            progress.advance("transferred_blobs", 1)
            progress.note("transferred_blobs", "waiting 8 s")
        time.sleep(0.5)
        intervals = (time.monotonic() - began_s) / 0.2
        progress.end("transferred_blobs", "100 of 2,000 blobs")
        time.sleep(0.5)
    *lines, last = capfd.readouterr().err.splitlines()
    assert 1 <= len(lines) <= intervals, "a line an interval"
    assert lines[-1] == "transferred_blobs      100 of 2,000 blobs, 100.0 KiB; waiting 8 s"
    assert last.startswith("transferred_blobs      100 of 2,000 blobs ("), "and none after the end"


def test_no_stage_is_spoken_of_that_did_not_begin(capfd: pytest.CaptureFixture[str]) -> None:
    with ForegroundProgress() as progress:
        progress.advance("transferred_blobs", 1)
        progress.moved("transferred_blobs", 1)
        progress.note("transferred_blobs", "waiting")
        progress.end("transferred_blobs", "done")
    assert not capfd.readouterr().err


def test_lines_end_with_the_progress() -> None:
    before = set(threading.enumerate())
    with suppress(KeyboardInterrupt), ForegroundProgress() as progress:
        progress.begin("transferred_blobs", 1, "blobs")
        raise KeyboardInterrupt
    assert set(threading.enumerate()) <= before


def test_a_summary_is_one_line_on_a_terminal_of_eighty_columns() -> None:
    with a_terminal(columns=80) as terminal, ForegroundProgress() as progress:
        progress.begin("transferred_blobs", 2_000, "blobs")
        progress.end("transferred_blobs", "1,998 of 2,000 blobs, 3.0 MiB")
        terminal.wait_for("1,998 of 2,000 blobs, 3.0 MiB 0:00:0")
