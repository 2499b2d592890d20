"""Every error class and code of the package, read from its source: what is raised where, and with which hint."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "eurosky_pipeline"
ROOT = "EuroskyError"
KINDS = {"TransientError": "transient", "PermanentError": "permanent", "FatalError": "fatal"}
"""The classes that say who retries, as the document calls them."""
COMMAND = "command"
"""The kind of what the commands alone say, and no exception of ours."""


@dataclass(frozen=True)
class ErrorClass:
    """A class of the tree; `code` is its own default, None where it has its parent's."""

    name: str
    bases: tuple[str, ...]
    code: str | None
    place: str


@dataclass(frozen=True)
class RaiseSite:
    """An error that is made: by class name, with a code (None: the class's own), and perhaps with a hint."""

    kind: str
    code: str | None
    has_hint: bool
    place: str


class Source:
    """The whole package, parsed."""

    def __init__(self, folder: Path = PACKAGE) -> None:
        self._trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
        self._folder = folder
        defined = [node for path, tree in self._trees.items() for node in self._classes_in(path, tree)]
        self.classes = _descendants({item.name: item for item in defined}, ROOT)
        self.sites = [site for path, tree in self._trees.items() for site in self._sites_in(path, tree)]

    def kind_of(self, name: str) -> str:
        """`transient`, `permanent` or `fatal`; the root itself has none of them, and a command's own word is one."""
        while name not in KINDS and name != ROOT and name != COMMAND:
            name = next(base for base in self.classes[name].bases if base in self.classes)
        return KINDS.get(name, name)

    def code_of(self, name: str) -> str:
        """The default code of a class, its own or its parent's."""
        item = self.classes[name]
        return item.code or self.code_of(next(base for base in item.bases if base in self.classes))

    def kinds_by_code(self) -> dict[str, set[str]]:
        """Every code that can come out of the package, and who retries it, by every site that gives it."""
        found: dict[str, set[str]] = {}
        for site in self.sites:
            found.setdefault(site.code or self.code_of(site.kind), set()).add(self.kind_of(site.kind))
        return found

    def _classes_in(self, path: Path, tree: ast.AST) -> Iterator[ErrorClass]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = tuple(_name(base) for base in node.bases)
                yield ErrorClass(node.name, bases, _default_code(node), self._place(path, node))

    def _sites_in(self, path: Path, tree: ast.AST) -> Iterator[RaiseSite]:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name, place = _name(node.func), self._place(path, node)
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if name == "Rule" and len(node.args) >= 3:  # a row of the table of answers
                yield RaiseSite(_name(node.args[0]), _only(_texts(node.args[1])), has_hint=True, place=place)
            elif name == "print_error" and (texts := _texts(node.args[0])):
                yield RaiseSite(COMMAND, texts[0], has_hint=True, place=place)
            elif name in self.classes:
                has_hint = "hint" in keywords and _texts(keywords["hint"]) != [""]
                codes = _texts(keywords["code"]) if "code" in keywords else [None]
                for code in codes:  # none: it is handed on from another error
                    yield RaiseSite(name, code, has_hint, place)
            elif "code" in keywords and _texts(keywords["code"]):
                raise AssertionError(f"{place}: who is {name}, and which error does it make of that code?")

    def _place(self, path: Path, node: ast.stmt | ast.expr) -> str:
        return f"{path.relative_to(self._folder)}:{node.lineno}"


def _descendants(defined: dict[str, ErrorClass], root: str) -> dict[str, ErrorClass]:
    found = {root: defined[root]}
    while more := {n: c for n, c in defined.items() if n not in found and set(c.bases) & found.keys()}:
        found |= more
    return found


def _default_code(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and _name(statement.targets[0]) == "default_code":
            return _only(_texts(statement.value))
    return None


def _texts(value: ast.expr) -> list[str]:
    """The string constants that an expression may come to; none where it is computed."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    return [*_texts(value.body), *_texts(value.orelse)] if isinstance(value, ast.IfExp) else []


def _only(texts: list[str]) -> str:
    (text,) = texts
    return text


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
