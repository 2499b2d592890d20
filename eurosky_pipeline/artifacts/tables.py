"""Tables that outlive a run, as CSV: written a row at a time, and in their place at once or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eurosky_pipeline.artifacts.disk import PARTIAL_SUFFIX, disk_errors_named


@contextmanager
def written_csv(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[object]], None]]:
    """A new table: the block gets a function that adds a row (None is an empty cell); the file gets its name when the
    block ends well.

    All cells are quoted, since some hold text from strangers. Raises FatalError for a full or broken disk.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with disk_errors_named(path):
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerow(columns)
                yield writer.writerow
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
