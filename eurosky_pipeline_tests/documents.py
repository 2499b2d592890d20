"""The documents, read as Markdown: what of them stands in code, in tables, in headings and links."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "eurosky_pipeline"
TESTS = REPOSITORY / "eurosky_pipeline_tests"
PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "notebooks").glob("*.*"),
    )
    if path.suffix in {".md", ".ipynb"}
)
"""All that people read, by its place in the repository: Markdown, and the notebooks' cells of it."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)
_ROW = re.compile(r"^\|(.+)\|$")
_RULE = re.compile(r"^\|[ :|-]+\|$")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Table:
    """A table's head and its rows, cell by cell, as they stand there."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def coded(self, column: int = 0) -> list[str]:
        """What stands in code in this column, from top to bottom."""
        return [name for row in self.rows for name in _INLINE.findall(row[column])]


@dataclass(frozen=True)
class Page:
    """One document. `prose` is all but its blocks of code."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Its blocks of code: language (empty for none) and text."""
        return [(found["language"], found["text"]) for found in _FENCE.finditer(self.text)]

    @property
    def inline(self) -> list[str]:
        """What stands in code within sentences and tables, each on one line."""
        return [" ".join(code.split()) for part in self.prose.split("\n\n") for code in _INLINE.findall(part)]

    @property
    def code(self) -> str:
        """All of its code, in blocks and in sentences."""
        return "\n".join([*(text for _, text in self.blocks), *self.inline])

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What a link may name behind `#`, made of its headings as GitHub does."""
        bare = (re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", title).lower() for title in _HEADING.findall(self.prose))
        return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in bare}

    @property
    def tables(self) -> list[Table]:
        return list(_tables(self.prose))

    def table(self, first: str) -> Table:
        """The one table whose first column has this heading."""
        (found,) = [table for table in self.tables if table.header[0] == first]
        return found


@cache
def page(name: str) -> Page:
    """A document by its place in the repository."""
    path = REPOSITORY / name
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return Page(path, text)


def texts_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a Python file, with its line; `…` for what is filled in."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield node.lineno, "".join(map(str, values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def _tables(prose: str) -> Iterator[Table]:
    lines = prose.splitlines()
    for number, line in enumerate(lines[1:], 1):
        if _RULE.match(line) and _ROW.match(lines[number - 1]):
            rows = []
            for below in lines[number + 1 :]:
                if not _ROW.match(below):
                    break
                rows.append(_cells(below))
            yield Table(_cells(lines[number - 1]), tuple(rows))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in _CELL.split(line.strip("|")))
