"""A result of many parts on its way to stdout: kept in a file, not in memory, until it is whole.

So what a program reads is one JSON value, or an error, and never half of one followed by the other.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from types import TracebackType
from typing import Final

import click

from eurosky_pipeline.cli.output import json_text

_IN_MEMORY_BYTES: Final = 1024 * 1024


class JsonArray:
    """An array of JSON values, written one by one; a context manager. Nothing but its owner can read the file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, mode="w+", encoding="utf-8")  # noqa: SIM115
        self.count = 0

    def __enter__(self) -> JsonArray:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, value: object) -> None:
        self._file.write((",\n" if self.count else "") + json_text(value))
        self.count += 1

    def print(self, before: str = "", after: str = "") -> None:
        """Write the array to stdout, between these two texts, and a line's end."""
        self._file.seek(0)
        click.echo(f"{before}[", nl=False)
        shutil.copyfileobj(self._file, sys.stdout)
        click.echo(f"]{after}")
