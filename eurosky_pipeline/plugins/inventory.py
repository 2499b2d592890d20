"""The inventory: all that plugins offer, which of it is used, and what is broken or missing; for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.plugins.discovery import Origin, PluginFault
from eurosky_pipeline.plugins.event_sinks import EventSink
from eurosky_pipeline.plugins.foreign import LOAD_LIMIT_S, kind_of, prints_aside, within
from eurosky_pipeline.plugins.intake_sources import IntakeSource
from eurosky_pipeline.plugins.kinds import KINDS, Kind
from eurosky_pipeline.plugins.manager import Missing, installed_plugins, load
from eurosky_pipeline.plugins.offers import Plugins


class Use(StrEnum):
    """Whether something that is there is used."""

    YES = "yes"
    NO = "no"
    """The settings do not name it."""
    NOT_SET_UP = "not set up"
    """They name it, and it has nowhere to send to."""
    CANNOT = "cannot be had"
    """They name it, and it cannot be made, or is set up wrongly."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that a plugin offers."""

    kind: Kind[Any]
    name: str
    version: str
    origin: Origin
    use: Use


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that the settings name and that cannot be used."""

    kind: Kind[Any]
    missing: Missing


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything; `lacks` is what somebody has to do something about, `faults` may be of what nobody uses."""

    items: tuple[Item, ...]
    faults: tuple[PluginFault, ...]
    lacks: tuple[Lack, ...]


def take_stock(named: Mapping[str, Sequence[str]], *, plugins: Plugins | None = None) -> Inventory:
    """Look at everything; what is named is made once, to see whether it can be. This runs code of the plugins'.

    Args:
        named: the names in the settings, by the setting's variable.
        plugins: where to look; None: what is installed.
    """
    found = installed_plugins() if plugins is None else plugins
    items: list[Item] = []
    lacks: list[Lack] = []
    for kind in KINDS:
        uses: dict[str, Use] = {}
        for name in named.get(kind.variable, ()):
            use = _try(kind, name, found)
            if isinstance(use, Missing):
                lacks.append(Lack(kind, use))
            uses[name] = use if isinstance(use, Use) else Use.CANNOT
        items += [
            Item(kind, offer.name, offer.version, offer.origin, uses.get(offer.name, Use.NO))
            for offer in found.of(kind)
        ]
    return Inventory(tuple(items), found.faults, tuple(lacks))


def _try(kind: Kind[Any], name: str, plugins: Plugins) -> Use | Missing:
    loaded = load(kind, [name], plugins=plugins)
    if loaded.missing:
        return loaded.missing[0]
    try:
        with prints_aside():
            return within(LOAD_LIMIT_S, lambda: _use_of(loaded.made[0]))
    except EuroskyError as error:
        return Missing(name, error.code, f"the {kind.title} {name!r} is set up wrongly: {error.message}", error.hint)
    except Exception as error:
        hint = f"have its plugin mended, or take it out of {kind.variable}"
        # its text is not told: whoever is set up has secrets
        reason = f"the {kind.title} {name!r} fails: {kind_of(error)}"
        return Missing(name, "plugin_broken", reason, hint)


def _use_of(made: object) -> Use:
    try:
        is_ready = made.is_configured() if isinstance(made, EventSink) else True
    finally:
        if isinstance(made, EventSink | IntakeSource):
            made.close()
    return Use.YES if is_ready else Use.NOT_SET_UP
