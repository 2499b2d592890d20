"""docs/plugins.md: it tells of every hook, step, field and function that there is, and of none that there is not."""

import inspect
import json
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from click.testing import CliRunner

from eurosky_pipeline.cli.plugins import plugins as command
from eurosky_pipeline.plugins import conformance, hooks, inventory
from eurosky_pipeline.plugins.event_sinks import Event
from eurosky_pipeline.plugins.foreign import LOAD_LIMIT_S
from eurosky_pipeline.plugins.hooks import PROJECT
from eurosky_pipeline.plugins.intake_sources import ACCOUNT_FIELDS, MAX_CURSOR_CHARACTERS, IntakeContext, Reply
from eurosky_pipeline.plugins.inventory import Use
from eurosky_pipeline.plugins.kinds import KINDS
from eurosky_pipeline.plugins.offers import read_plugins
from eurosky_pipeline.plugins.record_transforms import TransformContext
from eurosky_pipeline_tests.plugin_packages import EXAMPLE

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
FILES = sorted(path.name for path in EXAMPLE.iterdir() if path.suffix in {".py", ".toml"})


def section(title):
    """What stands under a heading of this text, up to the next one of its rank or above."""
    (found,) = re.findall(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |^### |\Z)", PAGE, re.S | re.M)
    return found[1]


def whole_section(title):
    """The same with what stands under its own headings."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def our_own(monkeypatch, tmp_path):
    """The command's answer where nothing else is installed and nothing is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    for name in ("EUROSKY_RECORD_TRANSFORMS", "EUROSKY_INTAKE_SOURCES", "EUROSKY_EVENT_SINKS", "EUROSKY_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    found = read_plugins(distributions(name="eurosky_pipeline"))
    monkeypatch.setattr(inventory, "installed_plugins", lambda: found)
    return lambda *arguments: CliRunner().invoke(command, arguments).stdout


def test_every_hook_has_its_section_and_every_section_its_hook():
    specified = [name for name, value in vars(hooks).items() if hasattr(value, f"{PROJECT}_spec")]
    assert re.findall(r"^### `(eurosky_\w+)\(\)`$", PAGE, re.M) == specified == [kind.hook for kind in KINDS]
    assert all(inspect.getdoc(getattr(hooks, name)) for name in specified)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_a_hooks_section_names_its_class_and_its_setting(kind):
    text = section(f"`{kind.hook}()`")
    assert f"`plugins.{kind.base.__module__.rpartition('.')[2]}.{kind.base.__name__}`" in text
    assert f"{kind.variable}=" in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_every_step_of_a_kind_stands_in_its_table_with_its_arguments(kind):
    text = whole_section(f"{kind.title.capitalize()}s")
    steps = {
        f"{name}({', '.join(list(inspect.signature(step).parameters)[1:])})"
        for name, step in vars(kind.base).items()
        if inspect.isfunction(step) and not name.startswith("_")
    }
    assert set(re.findall(r"^\| `(\w+\([^`]*\))` \|", text, re.M)) == steps


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_the_example_as_it_is(name):
    assert len(FILES) == 7
    assert f"\n{(EXAMPLE / name).read_text('utf-8').strip()}\n```" in PAGE
    assert f"`{name}`" in PAGE


def test_the_kits_functions_are_told_as_they_are_called():
    told = re.findall(r"^### `(check_\w+)(\(.+\))`$", PAGE, re.M)
    real = [name for name in conformance.__all__ if name.startswith("check_")]
    assert sorted(name for name, _ in told) == sorted(real)
    for name, arguments in told:
        parameters = inspect.signature(getattr(conformance, name)).parameters.values()
        bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
        assert arguments == str(inspect.Signature(bare))


def test_what_is_handed_to_a_plugin_is_told_field_by_field():
    sources, sinks = whole_section("Intake sources"), whole_section("Event sinks")
    assert ", ".join(f"`{name}`" for name in ACCOUNT_FIELDS) in sources
    assert ", ".join(f"`{reply}`" for reply in Reply) in sources
    assert f"{MAX_CURSOR_CHARACTERS} characters" in sources
    assert {f"context.{name}" for name in IntakeContext.__slots__} <= set(re.findall(r"context\.\w+", sources))
    assert re.findall(r"^\| `(\w+)` \|", sinks, re.M) == list(Event.__slots__)
    handed = whole_section("What a plugin gets, and what it never gets")
    assert {"unknown_size", "blob_sizes", "report"} <= set(TransformContext.__slots__)
    assert all(name in handed for name in ("`unknown_size`", "`blob_sizes(cids)`", "`report(line)`", "the DID"))
    assert f"({LOAD_LIMIT_S:.0f} seconds)" in PAGE


def test_the_commands_answers_are_as_the_page_shows_them(our_own):
    assert our_own().strip() in whole_section("See what there is")
    said = json.loads(our_own("--json"))
    documented = re.search(r"`(\{ok, .*?\})`\.", " ".join(whole_section("See what there is").split()))
    assert documented is not None
    keys = re.findall(r"(\w+): \[\{([^}]+)\}\]", documented[1])
    assert [name for name, _ in keys] == [name for name in said if name != "ok"]
    assert dict(keys)["plugins"].split(", ") == list(said["plugins"][0])
    assert all(f"`{use}`" in whole_section("See what there is") for use in Use)
