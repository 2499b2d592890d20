"""What goes where: the result to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

_PIPED_WIDTH = 200
Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """The `--json` switch that every command with a result has."""
    return click.option("--json", "is_json", is_flag=True, help="Print the result as one JSON value.")(command)


def convert_option(command: Command) -> Command:
    """The switch that overrides, for single migrations, whether legacy blob references are converted."""
    return click.option(
        "--convert-legacy-blobs/--no-convert-legacy-blobs", default=None, help="Overrides CONVERT_LEGACY_BLOBS."
    )(command)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def moment(value: datetime | None) -> str | None:
    """As the results have it: ISO 8601, to the second."""
    return None if value is None else value.isoformat(timespec="seconds")


def print_json(value: object) -> None:
    click.echo(json_text(value, indent=2 if _is_terminal() else None))


def json_text(value: object, *, indent: int | None = None) -> str:
    """As it can be written in UTF-8, whatever it holds."""
    text = json.dumps(value, indent=indent, default=str, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file's name, or an argument, that is no text
        text = json.dumps(value, indent=indent, default=str)
    return text


def tell(text: str) -> None:
    """A line for people, beside the result."""
    click.echo(text, err=True)


def print_error(code: str, message: str, hint: str, *, is_json: bool) -> None:
    """An error for people on stderr, or for programs on stdout."""
    if is_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
        return
    tell(f"{click.style('error:', fg='red', bold=True)} {message}")
    if hint:
        tell(f"  {click.style('→', fg='yellow')} {hint}")


def print_pairs(title: str, pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line, on stdout."""
    _print_rows(title, None, pairs)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    _print_rows("", header, rows)


def _print_rows(title: str, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", show_header=header is not None)
    for number, name in enumerate(header or ("", "")):
        table.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if _is_terminal() else _PIPED_WIDTH).print(table)
