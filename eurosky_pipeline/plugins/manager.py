"""The manager: new instances of what is asked for by name.

Nothing is looked for or imported before the first question, and then once in a process. What a plugin does wrong is
nobody's trouble but of those who ask for what is therefore missing: a conversion, which must not go on without one of
its transforms, hears of it as an error; a tick goes on with the other sources or sinks, and names those that it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from typing import Any, Final, Generic

from eurosky_pipeline.errors import EuroskyError, FatalError, SettingsError
from eurosky_pipeline.plugins.discovery import PluginFault
from eurosky_pipeline.plugins.event_sinks import EventSink
from eurosky_pipeline.plugins.factories import FactoryError, make
from eurosky_pipeline.plugins.foreign import TooSlow, prints_aside, shown, within
from eurosky_pipeline.plugins.intake_sources import IntakeSource
from eurosky_pipeline.plugins.kinds import EVENT_SINKS, INTAKE_SOURCES, RECORD_TRANSFORMS, Kind, Made
from eurosky_pipeline.plugins.offers import Offer, Plugins, read_plugins
from eurosky_pipeline.plugins.record_transforms import RecordTransform

DEFAULT_TRANSFORMS: Final = ("legacy_blobs",)
"""What runs where nobody names transforms. All others run by name only, since records are other people's property."""

MAX_TRANSFORMS: Final = 32
"""How many transforms one conversion may have."""

_MAKE_LIMIT_S: Final = 10.0
"""How long one source or sink may take to be made, which is done in every tick."""
_SHOWN_FAULTS: Final = 5


class PluginError(FatalError):
    """What is asked for is missing, since a plugin is broken, or two plugins claim its name."""

    default_code = "plugin_broken"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the settings name and that cannot be had; `reason` names plugin and package, or that none has it.

    Attributes:
        name: as the settings have it.
        code: of docs/troubleshooting.md.
        hint: what to do; may be empty.
    """

    name: str
    code: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Made]):
    """What can be had of what was asked for, in that order, as new instances; and what is missing."""

    made: tuple[Made, ...]
    missing: tuple[Missing, ...]


def load_transforms(
    names: Sequence[str] = DEFAULT_TRANSFORMS, *, plugins: Plugins | None = None
) -> list[RecordTransform]:
    """New instances of these record transforms, in this order.

    Args:
        names: as the transforms call themselves; each once.
        plugins: where to take them from; None: what is installed.

    Raises:
        SettingsError: too many names, or one that stands there twice or that nobody offers (code `transform_unknown`).
        PluginError: a plugin is broken that offers it, or may; or two plugins offer it.
    """
    if len(names) > MAX_TRANSFORMS or len(set(names)) < len(names):
        raise SettingsError(
            f"{len(names)} record transforms are asked for, or one of them twice: {shown(', '.join(names))}",
            hint=f"name each once, in the order in which they shall run, and no more than {MAX_TRANSFORMS}",
        )
    if not names:
        return []
    found = installed_plugins() if plugins is None else plugins
    return [_made(offer) for offer in [_offered(RECORD_TRANSFORMS, name, found) for name in names]]


def load_intake_sources(names: Sequence[str], *, plugins: Plugins | None = None) -> Loaded[IntakeSource]:
    """New instances of these intake sources, as far as they can be had; close each when the tick is over."""
    return load(INTAKE_SOURCES, names, plugins=plugins)


def load_event_sinks(names: Sequence[str], *, plugins: Plugins | None = None) -> Loaded[EventSink]:
    """New instances of these event sinks, as far as they can be had; close each when the round is over."""
    return load(EVENT_SINKS, names, plugins=plugins)


def load(kind: Kind[Made], names: Sequence[str], *, plugins: Plugins | None = None) -> Loaded[Made]:
    """What can be had of these, each once; raises nothing of what plugins, or the settings, do wrong."""
    made: list[Made] = []
    missing: list[Missing] = []
    if not names:
        return Loaded((), ())
    found = installed_plugins() if plugins is None else plugins
    for name in dict.fromkeys(names):
        try:
            made.append(_made_apart(_offered(kind, name, found)))
        except EuroskyError as error:
            missing.append(Missing(name, error.code, error.message, error.hint))
    return Loaded(tuple(made), tuple(missing))


@cache
def installed_plugins() -> Plugins:
    """Every plugin that is installed, loaded; this runs code of theirs, and raises nothing of what they do wrong."""
    return read_plugins(distributions())


def _offered(kind: Kind[Made], name: str, plugins: Plugins) -> Offer[Made]:
    offers = plugins.of(kind)
    for offer in offers:
        if offer.name == name:
            return offer
    if faults := plugins.faults_of(kind, name):
        raise PluginError(f"the {kind.title} {shown(name)} cannot be had: {_listed(faults)}", hint=_mend(kind))
    there_are = ", ".join(offer.name for offer in offers) or "none"
    if faults := plugins.faults_beside(kind):
        raise PluginError(
            f"the {kind.title} {shown(name)} is none of {there_are}, nor is it known what else there is: "
            f"{_listed(faults)}",
            hint=_mend(kind),
        )
    raise SettingsError(
        f"no plugin offers the {kind.title} {shown(name)}; there are: {there_are}",
        code="transform_unknown" if kind.hook == RECORD_TRANSFORMS.hook else "plugin_unknown",
        hint=f"correct {kind.variable}, or install the package that has it",
    )


def _made(offer: Offer[Made]) -> Made:
    try:
        with prints_aside():
            return make(offer.kind, offer.factory)
    except FactoryError as error:
        hint = error.__cause__.hint if isinstance(error.__cause__, EuroskyError) else ""
        raise PluginError(
            f"the {offer.kind.title} {offer.name!r} cannot be had: {offer.origin} {error}",
            hint=hint or _mend(offer.kind),
        ) from error


def _made_apart(offer: Offer[Made]) -> Made:
    """The same on a thread of its own, so that one that hangs holds up nobody."""
    try:
        with prints_aside():
            return within(_MAKE_LIMIT_S, lambda: _made(offer))
    except TooSlow as error:
        raise PluginError(
            f"the {offer.kind.title} {offer.name!r} cannot be had: {offer.origin} hangs while it is made: {error}",
            hint=_mend(offer.kind),
        ) from error


def _mend(kind: Kind[Any]) -> str:
    return f"mend or uninstall the package that is named, or take the {kind.title} out of {kind.variable}"


def _listed(faults: Sequence[PluginFault]) -> str:
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return "; ".join(map(str, faults[:_SHOWN_FAULTS])) + more
