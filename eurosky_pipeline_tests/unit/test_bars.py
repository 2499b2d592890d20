"""Progress in the foreground, where there is no terminal any more: it must not decide anything."""

from __future__ import annotations

import os

import pytest

from eurosky_pipeline.cli.bars import ForegroundProgress


@pytest.fixture
def broken_stderr():
    """Stderr is a pipe that nobody reads."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)
    yield
    os.dup2(kept, 2)
    os.close(kept)


def test_a_closed_pipe_is_no_error(broken_stderr: None) -> None:
    with ForegroundProgress() as progress:
        progress.begin("exported_car", None, "B")
        progress.advance("exported_car", 10)
        progress.end("exported_car", "done")
        progress.begin("imported_repo", 5, "B")
        progress.end("imported_repo", "done")


def test_a_stage_is_one_line_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with ForegroundProgress() as progress:
        progress.begin("exported_car", None, "B")
        progress.advance("exported_car", 10)
        progress.end("exported_car", "3 records")
    assert capfd.readouterr().err.startswith("exported_car           3 records (")
