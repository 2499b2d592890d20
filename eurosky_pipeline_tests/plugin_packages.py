"""Packages with plugins, installed as pip leaves them: modules and dist-info, in a folder of the test's own."""

from __future__ import annotations

import itertools
import shutil
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from eurosky_pipeline.plugins.kinds import Kind
from eurosky_pipeline.plugins.offers import Plugins, read_plugins

EXAMPLE = Path(__file__).parent / "example_plugin"
_NUMBERS = itertools.count()

HEAD = """
from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.event_sinks import EventSink
from eurosky_pipeline.plugins.intake_sources import IntakeSource
from eurosky_pipeline.plugins.record_transforms import RecordTransform

def transform_of(name, version="1", **more):
    return made(RecordTransform, name, version, transform=lambda self, uri, record: record, **more)

def source_of(name, version="1", **more):
    return made(IntakeSource, name, version, poll=lambda self, context: [], **more)

def sink_of(name, version="1", **more):
    return made(EventSink, name, version, deliver=lambda self, event: None, **more)

def made(base, name, version, **more):
    return type(str(name).title(), (base,), {"name": name, "version": version, **more})
"""
"""What the plugins here begin with."""


def offering(*expressions: str, before: str = "") -> str:
    """A plugin's source: its hook answers with a list of these expressions."""
    return f"{HEAD}\n{before}\n@hookimpl\ndef eurosky_record_transforms():\n    return [{', '.join(expressions)}]\n"


BROKEN = {
    "raises": ("import json\njson.loads('{')\n", "cannot be imported: JSONDecodeError: Expecting property name"),
    "is no Python": ("def broken(:\n", "cannot be imported: SyntaxError"),
    "lacks a module": ("import module_that_nobody_has\n", "cannot be imported: ModuleNotFoundError"),
    "leaves": ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
    "panics": ("raise type('Panic', (BaseException,), {})('no')\n", "cannot be imported: Panic: no"),
    "interrupts": ("raise KeyboardInterrupt\n", "cannot be imported: KeyboardInterrupt"),
    "interrupts when asked": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    raise KeyboardInterrupt\n",
        "fails in eurosky_record_transforms: KeyboardInterrupt",
    ),
    "offers what interrupts": (
        offering("Shy()", before="class Shy:\n    @property\n    def name(self): raise KeyboardInterrupt"),
        "offers what cannot be looked at: KeyboardInterrupt",
    ),
    "has no hook": ("def eurosky_record_transforms():\n    return []\n", "implements no hook"),
    "has a hook that there is not": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transform():\n    return []\n",
        "implements a hook wrongly, or one that this version does not have: .*eurosky_record_transform'",
    ),
    "wants what no hook gives": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms(credentials):\n    return []\n",
        "implements a hook wrongly.*credentials",
    ),
    "raises when asked": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    raise LookupError('no\\n transforms')\n",
        "fails in eurosky_record_transforms: LookupError: no transforms",
    ),
    "leaves when asked": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    raise SystemExit\n",
        "fails in eurosky_record_transforms: SystemExit",
    ),
    "answers nothing": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    pass\n",
        "something else than a list of at most 100: a NoneType",
    ),
    "answers one class": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    return transform_of('it')\n",
        "something else than a list of at most 100: a ABCMeta",
    ),
    "answers a word": (
        f"{HEAD}\n@hookimpl\ndef eurosky_record_transforms():\n    return 'it'\n",
        "something else than a list of at most 100: 'it'",
    ),
    "answers too much": (
        offering("*[transform_of(f'n{n}') for n in range(101)]"),
        "something else than a list of at most 100: a list",
    ),
    "offers what cannot be called": (offering("5"), "offers what is neither a class nor a factory: a int"),
    "offers what cannot be looked at": (
        offering(
            "Shy()",
            before="class Shy:\n    __call__ = None\n    @property\n    def name(self): raise ValueError('no')",
        ),
        "offers what cannot be looked at: ValueError: no",
    ),
}
REFUSED = {
    "a name of capitals": ("transform_of('It')", "whose name is 'It': it must be"),
    "a name with a dash": ("transform_of('it-too')", "whose name is 'it-too': it must be"),
    "a name that begins with a digit": ("transform_of('1it')", "whose name is '1it': it must be"),
    "a name with a line's end": ("transform_of('it\\n')", "whose name is"),
    "a name of other letters": ("transform_of('ît')", "whose name is 'ît'"),
    "a name too long": ("transform_of('i' * 65)", "whose name is 'iiii"),
    "a name that is a number": ("transform_of(7)", "whose name is a int"),
    "no name": ("type('T', (RecordTransform,), {'version': '1'})", "'T', whose name is a NoneType"),
    "no version": ("transform_of('it', None)", "offers it, whose version is a NoneType: it must be"),
    "a version that is a number": ("transform_of('it', 1)", "offers it, whose version is a int: it must be"),
    "a version with a space": ("transform_of('it', '1 0')", "offers it, whose version is '1 0': it must be"),
    "an empty version": ("transform_of('it', '')", "offers it, whose version is ''"),
    "a version too long": ("transform_of('it', '1' * 33)", "offers it, whose version is '111"),
    "a class of another kind": ("type('It', (), {'name': 'it', 'version': '1'})", "'It' is no RecordTransform"),
    "a class that transforms nothing": (
        "type('It', (RecordTransform,), {'name': 'it', 'version': '1'})",
        "offers it, whose class 'It' lacks transform",
    ),
}
"""Of record transforms, as whole sources; and as single expressions. `as_kind` makes them those of another kind."""


def as_kind(kind: Kind[Any], text: str) -> str:
    """What is written here for record transforms, said of another kind: sources, expressions and reasons alike."""
    maker, step = {"RecordTransform": ("transform_of", "transform"), "IntakeSource": ("source_of", "poll"),
                   "EventSink": ("sink_of", "deliver")}[kind.base.__name__]  # fmt: skip
    head, text = (HEAD, text.removeprefix(HEAD)) if text.startswith(HEAD) else ("", text)
    said = text.replace("eurosky_record_transforms", kind.hook).replace("transform_of", maker)
    said = said.replace("a RecordTransform", kind.a_base).replace("RecordTransform", kind.base.__name__)
    return head + said.replace("lacks transform", f"lacks {step}")


class Site:
    """A folder of installed packages, on this process's path while the test runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.syspath_prepend(folder)

    def install(self, distribution: str, source: str, *, plugin: str = "main", version: str = "1.0") -> str:
        """A package of one plugin; the module has a name that no other test has used. Returns that name."""
        module = f"plugin_under_test_{next(_NUMBERS)}"
        (self.folder / f"{module}.py").write_text(source)
        write_dist_info(self.folder, distribution, version, {plugin: module})
        sys.path_importer_cache.pop(str(self.folder), None)  # or a module this young may not be found
        return module

    def read(self) -> Plugins:
        """What these packages offer, and no others."""
        return read_plugins(distributions(path=[str(self.folder)]))


def write_dist_info(folder: Path, distribution: str, version: str, plugins: Mapping[str, str]) -> Path:
    """The metadata of a package with these entry points, module by name. Returns its folder."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    entries = "".join(f"{name} = {module}\n" for name, module in plugins.items())
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[eurosky_pipeline]\n{entries}")
    return info


def install_example(folder: Path) -> None:
    """The example package, as its pyproject.toml says; without pip, which would want the network for setuptools."""
    described = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    project = described["project"]
    for module in described["tool"]["setuptools"]["py-modules"]:
        shutil.copy(EXAMPLE / f"{module}.py", folder)
    write_dist_info(folder, project["name"], project["version"], project["entry-points"]["eurosky_pipeline"])
