"""Files as arguments, and a bar while a large one is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from eurosky_pipeline.errors import IntegrityError

_SLOW_BYTES = 16 * 1024 * 1024
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@contextmanager
def reading(file: Path) -> Iterator[Callable[[int], None] | None]:
    """A bar on a terminal, for files that take their time: nobody sees it long enough for others.

    Raises: IntegrityError, with the file named, where one is raised inside.
    """
    size_bytes = file.stat().st_size
    try:
        if size_bytes < _SLOW_BYTES or not sys.stderr.isatty():
            yield None
            return
        from eurosky_pipeline.cli.bars import ForegroundProgress

        with ForegroundProgress() as progress:
            progress.begin("reading", size_bytes, "B")
            yield lambda count: progress.advance("reading", count)
    except IntegrityError as error:
        error.message = f"{click.format_filename(file)}: {error.message}"
        error.hint = error.hint or "the file is another one, or damaged, or cut short: export it again"
        raise
