"""Packages with plugins, installed as pip leaves them: modules and dist-info, in a folder of the test's own."""

from __future__ import annotations

import itertools
import shutil
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

import pytest

from eurosky_pipeline.plugins.offers import Plugins, read_plugins

EXAMPLE = Path(__file__).parent / "example_plugin"
_NUMBERS = itertools.count()

HEAD = """
from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.record_transforms import RecordTransform

def transform_of(name, version="1", **more):
    body = {"name": name, "version": version, "transform": lambda self, uri, record: record, **more}
    return type(str(name).title(), (RecordTransform,), body)
"""
"""What the plugins here begin with."""


def offering(*expressions: str, before: str = "") -> str:
    """A plugin's source: its hook answers with a list of these expressions."""
    return f"{HEAD}\n{before}\n@hookimpl\ndef eurosky_record_transforms():\n    return [{', '.join(expressions)}]\n"


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
