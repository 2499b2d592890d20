"""Discovery: which plugins are installed, each loaded for itself, and what is wrong with those that cannot be.

Belongs here: entry points, and asking a plugin by a hook's name. Does not: what the answers mean.

Every plugin gets a pluggy manager of its own. So one that does not import, implements a hook wrongly or raises when it
is asked is a `PluginFault` and nobody else's trouble, and one that wraps a hook wraps its own answer only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

import pluggy

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.plugins import hooks
from eurosky_pipeline.plugins.foreign import LOAD_LIMIT_S, TooSlow, let_interruption_through, shown, told, within

_SECTION = f"[{hooks.PROJECT}]"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something comes from: the entry point's name, and the installed package with its version."""

    plugin: str
    distribution: str
    distribution_version: str

    def __str__(self) -> str:
        return f"plugin {shown(self.plugin)} of {self.distribution} {self.distribution_version}"


@dataclass(frozen=True, slots=True)
class PluginFault:
    """Why something that is installed cannot be used.

    Attributes:
        offers: what is missing for it, by name; None where it is not known what the plugin would have offered.
        hook: by which it would have; None where it may be any.
    """

    origin: Origin
    reason: str
    offers: str | None = None
    hook: str | None = None

    def __str__(self) -> str:
        return f"{self.origin} {self.reason}"


class PluginFaultError(Exception):
    """Carries a fault up to where faults are collected; it never leaves this room."""

    def __init__(self, fault: PluginFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin, loaded, and alone in its manager."""

    origin: Origin
    manager: pluggy.PluginManager

    def ask(self, hook: str) -> list[Any]:
        """What it answers to a hook without arguments, by implementation; nothing if it has none.

        Raises: PluginFaultError if it raises.
        """
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook)
        if not caller.get_hookimpls():
            return []
        try:
            answers: list[Any] = within(LOAD_LIMIT_S, caller)
        except TooSlow as error:
            raise PluginFaultError(PluginFault(self.origin, f"hangs in {hook}: {error}", hook=hook)) from error
        except Exception as error:
            raise PluginFaultError(PluginFault(self.origin, f"fails in {hook}: {told(error)}", hook=hook)) from error
        return answers or [None]  # pluggy leaves out what is None, and here nobody else has answered


def load_plugins(installed: Iterable[Distribution]) -> tuple[list[Plugin], list[PluginFault]]:
    """The plugins of these packages, and what is wrong with those that are not among them.

    Of two packages of one name the first counts, as it does for imports. This runs code of the plugins'.
    """
    plugins: list[Plugin] = []
    faults: list[PluginFault] = []
    seen: set[str] = set()
    for distribution in installed:
        try:
            # most packages have no such file, or one without the word: taking all of them apart would cost more than
            # all the rest here
            if _SECTION not in (distribution.read_text("entry_points.txt") or ""):
                continue
            entries = [entry for entry in distribution.entry_points if entry.group == hooks.PROJECT]
            name, version = distribution.name, distribution.version
            key = re.sub(r"[-_.]+", "-", name).lower()
        except Exception as error:
            fault = PluginFault(_origin_of(distribution), f"has metadata that cannot be read: {told(error)}")
            faults += [fault] if fault not in faults else []
            continue
        if key in seen:
            continue
        seen.add(key)
        for entry in entries:
            try:
                plugins.append(_load(Origin(entry.name, name, version), entry))
            except PluginFaultError as error:
                faults.append(error.fault)
    return plugins, faults


def _load(origin: Origin, entry: EntryPoint) -> Plugin:
    try:
        module = within(LOAD_LIMIT_S, entry.load)
    except TooSlow as error:
        raise PluginFaultError(PluginFault(origin, f"hangs while it is imported: {error}")) from error
    except Exception as error:
        raise PluginFaultError(PluginFault(origin, f"cannot be imported: {told(error)}")) from error
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    try:
        manager.register(module, origin.plugin)
        manager.check_pending()
    except BaseException as error:  # it looks at everything that the module has
        let_interruption_through(error)
        reason = f"implements a hook wrongly, or one that this version does not have: {told(error)}"
        raise PluginFaultError(PluginFault(origin, reason)) from error
    if not manager.get_hookcallers(module):
        raise PluginFaultError(PluginFault(origin, "implements no hook: its functions lack the mark @hookimpl"))
    return Plugin(origin, manager)


def damaged_package_error() -> SettingsError:
    """What to raise where a library that looks for plugins of its own cannot read what is installed."""
    damaged = "a file of an installed package"
    for distribution in distributions():
        try:
            distribution.read_text("entry_points.txt")
        except UnicodeDecodeError:
            damaged = f"entry_points.txt in {getattr(distribution, '_path', None) or 'an installed package'}"
    return SettingsError(
        f"{damaged} is no UTF-8, and whatever looks for plugins stops there",
        code="plugin_broken",
        hint="uninstall that package, or install it anew",
    )


def _origin_of(distribution: Distribution) -> Origin:
    """A package whose metadata are damaged, by as much of them as can be read."""
    folder = getattr(getattr(distribution, "_path", None), "name", "") or "a package without a name"
    try:
        return Origin("?", distribution.name or folder, distribution.version or "?")
    except Exception:
        return Origin("?", folder, "?")
