"""The commands that people are told to type, and whether the program would take them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import click

from eurosky_pipeline.cli.main import cli
from eurosky_pipeline.registry.states import State
from eurosky_pipeline_tests.documents import Page

_SHELLS = {"", "sh", "console"}
_OPERATORS = re.compile(r"[();<>|&]+")
_IN_TEXT = re.compile(r"`([^`]+)`")
_SUBSTITUTED = re.compile(r"\$\(([^()]+)\)")
_IN_HELP = re.compile(r"^ *(?:[A-Z][^:\n]*: +)?((?:\.venv/bin/)?eurosky [a-z].*?)(?: {2,}.*)?$", re.M)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|.*….*")


@dataclass(frozen=True)
class Told:
    """A command line without `eurosky`; `is_whole` where it could be typed as it stands."""

    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return " ".join(("eurosky", *self.words))


@cache
def told_by(page: Page) -> frozenset[Told]:
    """Every command of ours that a document names."""
    lines = [line for language, block in page.blocks if language in _SHELLS for line in _typed(language, block)]
    told = {Told(words, is_whole=True) for line in lines for words in _ours(line)}
    return frozenset(told | {Told(words, is_whole=False) for code in page.inline for words in _named(code)})


def told_in_text(text: str) -> set[Told]:
    """Every command of ours that a message, a hint or a docstring names."""
    codes = (" ".join(found.split()) for found in _IN_TEXT.findall(text))
    return {Told(words, is_whole=False) for code in codes for words in _named(code)}


def told_in_help(text: str) -> set[Told]:
    """The same in what `--help` prints, whose examples are lines of their own."""
    lines = [part for found in _IN_HELP.findall(text) for part in found.split(", then ")]
    return told_in_text(text) | {Told(words, is_whole=True) for line in lines for words in _ours(line)}


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by its path."""
    yield from _below(cli, ())


def complaint(told: Told) -> str | None:
    """What the program would say against a command line; None if it would take it. Nothing is run.

    What stands for something else (`TOKEN`, `EURO-…`) is taken for a value; whether files are there is not asked.
    """
    is_whole = told.is_whole and "…" not in told.words
    rest = [word for word in told.words if word != "…"]
    command: click.Command = cli
    context = click.Context(cli, info_name="eurosky")
    while isinstance(command, click.Group):
        if rest in (["--help"], ["-h"], ["--version"]) or (not rest and not is_whole):
            return None
        name = rest.pop(0) if rest else ""
        found = command.get_command(context, name)
        if found is None:
            return f"{command.name} knows no {name or 'lack of a'} command"
        command, context = found, click.Context(found, parent=context, info_name=name)
    words = [_known_option(word, command) for word in rest]
    try:
        return _complaint(command, context, words, is_whole)
    except click.BadOptionUsage:  # an option that is only named: `car verify --key`
        return "lacks a value" if is_whole else complaint(Told((*told.words, "VALUE"), is_whole=False))
    except click.UsageError as error:
        return error.format_message()


def _complaint(command: click.Command, context: click.Context, words: list[str], is_whole: bool) -> str | None:
    values, left, _ = command.make_parser(context).parse_args(list(words))
    if left:
        return f"takes no {left}"
    unknown = set(values.get("states") or ()) - set(State)  # judged by the commands themselves, when they run
    if unknown:
        return f"knows no state {unknown}"
    for parameter in command.params:
        try:
            parameter.handle_parse_result(context, values, [])
        except click.MissingParameter:
            if is_whole and "--help" not in words:
                raise
        except click.BadParameter:
            given = values.get(parameter.name)
            of_files = isinstance(parameter.type, click.Path)
            if not of_files and not all(_PLACEHOLDER.fullmatch(str(value)) for value in _several(given)):
                raise
    return None


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def _known_option(word: str, command: click.Command) -> str:
    """`--…-password-env`, of which a program fills in a part, as one that there is."""
    if not word.startswith("-") or "…" not in word:
        return word
    known = [option for parameter in command.params for option in parameter.opts]
    return next((option for option in known if fnmatchcase(option, word.replace("…", "*"))), word)


def _typed(language: str, block: str) -> list[str]:
    """The lines of a block that are typed: in a `console` those behind a `$`, the rest is what was answered; in a block
    of no language those that begin with a program of ours."""
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    start = {"console": "$ ", "sh": "", "": ".venv/bin/"}[language]
    return [line.removeprefix("$ ") for line in lines if line.startswith(start)]


def _ours(line: str) -> Iterator[tuple[str, ...]]:
    """Each call of `eurosky` in a line for a shell, without what stands before it."""
    for inner in _SUBSTITUTED.findall(line):
        yield from _ours(inner)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    part: list[str] = []
    for word in (*lexer, ";"):
        if not _OPERATORS.fullmatch(word):
            part.append(word)
            continue
        while part and re.match(r"[A-Z_]+=", part[0]):
            part.pop(0)
        if part and part[0].removeprefix(".venv/bin/") == "eurosky":
            yield tuple(part[1:])
        part = []


def _named(code: str) -> Iterator[tuple[str, ...]]:
    """The same in code within a sentence, where `migrations check` and `migrate TOKEN` are enough."""
    first, _, rest = code.partition(" ")
    if rest and first in cli.list_commands(click.Context(cli)):
        code = f"eurosky {code}"
    if "eurosky " in code:
        yield from _ours(code)


def _below(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _below(found, (*path, name))
