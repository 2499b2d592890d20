"""Every command that a document, a hint or a help names is one that the program takes; each is told of."""

import re
from collections.abc import Collection

import click
import pytest

from eurosky_pipeline.cli.main import cli
from eurosky_pipeline_tests.documented_commands import Told, commands, complaint, told_by, told_in_help, told_in_text
from eurosky_pipeline_tests.documents import PACKAGE, PAGES, REPOSITORY, Page, page, texts_in

COMMANDS = dict(commands())
PATHS = [" ".join(path) for path in COMMANDS]
OURS = "benchmarks|eurosky_pipeline|eurosky_pipeline_tests"


def _complaints(told: Collection[Told]) -> list[str]:
    return sorted(f"{each}: {said}" for each in told if (said := complaint(each)))


def _made(text: str, name: str = "page.md") -> Page:
    return Page(REPOSITORY / name, text)


@pytest.mark.parametrize("name", PAGES)
def test_each_command_in_a_document_is_one_that_the_program_takes(name: str) -> None:
    assert _complaints(told_by(page(name))) == []


def test_each_command_in_a_message_or_a_hint_is_one_that_the_program_takes() -> None:
    named = re.compile(rf"`(\.venv/bin/)?(eurosky|{'|'.join(cli.list_commands(click.Context(cli)))}) ")
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if named.search(path.read_text("utf-8"))]
    told = {path: set().union(*(told_in_text(text) for _, text in texts_in(path))) for path in files}
    assert {path.name: said for path, each in told.items() if (said := _complaints(each))} == {}
    assert len(set().union(*told.values())) > 30, "they are read"


@pytest.mark.parametrize("path", PATHS)
def test_a_commands_help_names_commands_that_there_are_and_says_what_each_option_does(path: str) -> None:
    command = COMMANDS[tuple(path.split())]
    assert command.help
    assert _complaints(told_in_help(command.help)) == []
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.opts for each in options if not each.help] == []


def test_the_doors_help_shows_commands_that_there_are() -> None:
    assert cli.help is not None
    told = told_in_help(cli.help)
    assert len(told) >= 4
    assert _complaints(told) == []


@pytest.mark.parametrize("path", PATHS)
def test_each_command_is_told_of_in_a_document(path: str) -> None:
    told = {each.words[: len(path.split())] for name in PAGES for each in told_by(page(name))}
    assert tuple(path.split()) in told


@pytest.mark.parametrize("name", PAGES)
def test_each_target_of_make_and_each_module_in_a_document_is_there(name: str) -> None:
    made = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"(?:^|\$ )make ([a-z]+)", page(name).code, re.M)) <= made
    for module, options in re.findall(rf"python -m ((?:{OURS})[\w.]*)([^\n]*)", page(name).code):
        place = REPOSITORY.joinpath(*module.split("."))
        source = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__main__.py"
        assert source.is_file(), module
        assert [
            each for each in re.findall(r"--[a-z-]+", options) if f'"{each}"' not in source.read_text("utf-8")
        ] == []


def test_each_target_of_make_is_told_of_in_a_document() -> None:
    targets = re.findall(r"^([a-z]+):.* ## ", (REPOSITORY / "Makefile").read_text("utf-8"), re.M)
    told = " ".join(page(name).code for name in PAGES)
    assert [target for target in targets if f"make {target}" not in told] == []


@pytest.mark.parametrize(
    "text",
    [
        "`eurosky migrations chekc TOKEN`",
        "`migrations chekc`",
        "`eurosky migrate TOKEN --convert`",
        "`eurosky migrations\nlist --state done`",
        "```sh\nexport A=b && eurosky frobnicate | sort\n```",
        "```sh\nEUROSKY_HOME=/x .venv/bin/eurosky migrations show     # lacks the token\n```",
        "```sh\neurosky migrations add \\\n    --did did:plc:… --handel alice.example\n```",
        "```sh\nexport EUROSKY_VAULT_KEY=$(eurosky vault newkey)\n```",
        '```sh\neval "$(eurosky sandbox environment)"\n```',
        "```console\n$ eurosky report EURO-… --html\n```",
        "```console\n$ eurosky report EURO-… EURO-…\n```",
        "```console\n$ eurosky vault\n```",
        "```sh\neurosky up --port http\n```",
        "```sh\neurosky migrations list --older-than 30x\n```",
        "```\n.venv/bin/eurosky car inspct account.car\n```",
    ],
)
def test_what_the_program_would_not_take_is_found(text: str) -> None:
    assert len(_complaints(told_by(_made(text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "`eurosky car verify --key`, `migrations retry`, `eurosky migrations add …`, `car` and `eurosky vault`",
        "```sh\neurosky migrations list --json | jq -r '.[].state'     # it's all of them\n```",
        "```console\n$ eurosky report EURO-… --html report.html\neurosky frobnicate is what was answered\n```",
        "```\neurosky_pipeline/  it's no command\n```",
        "```sh\neurosky car inspect ~/no/such/file.car --help\n```",
    ],
)
def test_what_the_program_would_take_is_left_alone(text: str) -> None:
    assert told_by(_made(text)) or "no command" in text
    assert _complaints(told_by(_made(text))) == []
