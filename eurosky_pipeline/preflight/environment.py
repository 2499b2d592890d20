"""What this process was given: its variables, and the packages that it runs with."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from eurosky_pipeline.preflight.diagnosis import Diagnosis, Health
from eurosky_pipeline.settings import Settings

_LEAST_PYTHON = (3, 11)
_ENV_FILE = str(Settings.model_config["env_file"])
_SHOWN = ("dagster", "dagster-webserver", "dagster-postgres", "sqlalchemy", "httpx")


def look_at_variables(settings: Settings) -> list[Diagnosis]:
    """Which variables are set and read, and which look as if they were meant to be: names only, values never."""
    known = sorted(str(field.validation_alias) for field in Settings.model_fields.values())
    given = {**dict.fromkeys(_names_in_file(Path(_ENV_FILE)), f" (in {_ENV_FILE})"), **dict.fromkeys(os.environ, "")}
    read = [name for name in known if name in given]
    told = ", ".join(f"{name}{given[name]}" for name in read) or "none is set: all defaults"
    rows = [Diagnosis("settings", Health.OK, told)]
    for name in sorted(set(given) - set(known)):
        near = get_close_matches(name, known, n=1, cutoff=0.6 if name.startswith("EUROSKY_") else 0.9)
        if name.startswith("EUROSKY_") or near:
            hint = f"is {near[0]} meant? " if near else ""
            rows.append(Diagnosis("settings", Health.WARN, f"{name}{given[name]} is read by nobody", f"{hint}unset it"))
    if settings.is_private_hosts_allowed:
        rows.append(
            Diagnosis(
                "settings",
                Health.WARN,
                "EUROSKY_ALLOW_PRIVATE_HOSTS is on: plain http and hosts inside this network are accepted",
                "unset it on a machine that takes other people's migrations",
            )
        )
    return rows


def look_at_packages() -> list[Diagnosis]:
    """Whether Python and every package that this one wants are there, in versions that it wants."""
    found = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _SHOWN if _has(name))]
    wrong = list(_unmet(requires("eurosky_pipeline") or ()))
    if sys.version_info < _LEAST_PYTHON:
        wrong.append(f"Python {'.'.join(map(str, _LEAST_PYTHON))} or newer")
    if not wrong:
        return [Diagnosis("packages", Health.OK, ", ".join(found))]
    hint = "install it again: pip install -r requirements.lock, then pip install -e . --no-deps"
    return [Diagnosis("packages", Health.BAD, f"{', '.join(found)}; wanted: {', '.join(wrong)}", hint)]


def _unmet(wanted: Iterable[str]) -> Iterable[str]:
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not _has(requirement.name):
            yield f"{requirement.name} (not installed)"
        elif not requirement.specifier.contains(version(requirement.name), prereleases=True):
            yield f"{requirement.name}{requirement.specifier} (there is {version(requirement.name)})"


def _has(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _names_in_file(path: Path) -> list[str]:
    """The variables' names that stand in a `.env`; its values are not kept."""
    from dotenv import dotenv_values

    return list(dotenv_values(path)) if path.is_file() else []
