"""The manager: what the installed plugins offer, and new instances of what is asked for by name.

Nothing is looked for or imported before the first question, and then once in a process. What a plugin does wrong is an
error only where somebody asks for what is therefore missing. A name that two plugins claim belongs to neither, even if
one of them is built in: installing a package must not change what another one does, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import Final, NamedTuple

from eurosky_pipeline.errors import EuroskyError, FatalError, SettingsError
from eurosky_pipeline.plugins.discovery import Origin, Plugin, PluginFault, PluginFaultError, load_plugins, shown, told
from eurosky_pipeline.plugins.factories import FactoryError, check_factory, make_transform
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.record_transforms import RecordTransform

DEFAULT_TRANSFORMS: Final = ("legacy_blobs",)
"""What runs where nobody names transforms. All others run by name only, since records are other people's property."""

MAX_TRANSFORMS: Final = 32
"""How many transforms one conversion may have."""

_HOOK: Final = "eurosky_record_transforms"
_MAX_OFFERS: Final = 100
_SHOWN_FAULTS: Final = 5
_MEND: Final = "mend or uninstall the package that is named, or take the transform out of EUROSKY_RECORD_TRANSFORMS"


class PluginError(FatalError):
    """What is asked for is missing, since a plugin is broken, or two plugins claim its name."""

    default_code = "plugin_broken"


@dataclass(frozen=True, slots=True)
class OfferedTransform:
    """A record transform that can be had, and from whom."""

    name: str
    version: str
    origin: Origin
    factory: Factory[RecordTransform]


@dataclass(frozen=True, slots=True)
class Plugins:
    """All that is installed: what can be used, and what is wrong with the rest."""

    transforms: tuple[OfferedTransform, ...]
    faults: tuple[PluginFault, ...]


class AvailableTransform(NamedTuple):
    """A record transform that the settings can name."""

    name: str
    version: str
    distribution: str
    distribution_version: str


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
    return [_made(offer) for offer in [_offered(name, found) for name in names]]


def available_transforms(*, plugins: Plugins | None = None) -> list[AvailableTransform]:
    """The record transforms that can be asked for, sorted by name."""
    found = installed_plugins() if plugins is None else plugins
    return sorted(
        AvailableTransform(offer.name, offer.version, offer.origin.distribution, offer.origin.distribution_version)
        for offer in found.transforms
    )


@cache
def installed_plugins() -> Plugins:
    """Every plugin that is installed, loaded; this runs code of theirs, and raises nothing of what they do wrong."""
    return read_plugins(distributions())


def read_plugins(installed: Iterable[Distribution]) -> Plugins:
    """What the plugins of these packages offer."""
    plugins, faults = load_plugins(installed)
    offers: list[OfferedTransform] = []
    for plugin in plugins:
        for part in _offers(plugin):
            if isinstance(part, PluginFault):
                faults.append(part)
            else:
                offers.append(part)
    claimants: dict[str, list[OfferedTransform]] = {}
    for offer in offers:
        claimants.setdefault(offer.name, []).append(offer)
    for name, claims in claimants.items():
        if len(claims) > 1:
            reason = f"claims the name {name}, which is not its alone"
            faults += [PluginFault(offer.origin, reason, name) for offer in claims]
    usable = tuple(offer for offer in offers if len(claimants[offer.name]) == 1)
    return Plugins(usable, tuple(sorted(faults, key=str)))  # a file system lists packages in any order


def _offers(plugin: Plugin) -> Iterator[OfferedTransform | PluginFault]:
    """What a plugin answers to the hook, piece by piece: one that is wrong does not take the others with it."""
    try:
        answers = plugin.ask(_HOOK)
    except PluginFaultError as error:
        yield error.fault
        return
    for answer in answers:
        if not isinstance(answer, list | tuple) or len(answer) > _MAX_OFFERS:
            reason = f"answers {_HOOK} with something else than a list of at most {_MAX_OFFERS}: {shown(answer)}"
            yield PluginFault(plugin.origin, reason)
            continue
        for factory in answer:
            name = None
            try:
                name = getattr(factory, "name", None)
                checked = check_factory(factory)
                yield OfferedTransform(checked.name, checked.version, plugin.origin, checked)
            except FactoryError as error:
                yield PluginFault(plugin.origin, str(error), name if isinstance(name, str) else None)
            except Exception as error:
                yield PluginFault(plugin.origin, f"offers what cannot be looked at: {told(error)}")


def _offered(name: str, plugins: Plugins) -> OfferedTransform:
    for offer in plugins.transforms:
        if offer.name == name:
            return offer
    if faults := [fault for fault in plugins.faults if fault.offers == name]:
        raise PluginError(f"the record transform {shown(name)} cannot be had: {_listed(faults)}", hint=_MEND)
    there_are = ", ".join(offer.name for offer in available_transforms(plugins=plugins)) or "none"
    if faults := [fault for fault in plugins.faults if fault.offers is None]:
        raise PluginError(
            f"the record transform {shown(name)} is none of {there_are}, nor is it known what else there is: "
            f"{_listed(faults)}",
            hint=_MEND,
        )
    raise SettingsError(
        f"no plugin offers the record transform {shown(name)}; there are: {there_are}",
        code="transform_unknown",
        hint="correct EUROSKY_RECORD_TRANSFORMS, or install the package that has it",
    )


def _made(offer: OfferedTransform) -> RecordTransform:
    try:
        return make_transform(offer.factory)
    except FactoryError as error:
        hint = error.__cause__.hint if isinstance(error.__cause__, EuroskyError) else ""
        raise PluginError(
            f"the record transform {offer.name!r} cannot be had: {offer.origin} {error}",
            hint=hint or _MEND,
        ) from error


def _listed(faults: Sequence[PluginFault]) -> str:
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return "; ".join(map(str, faults[:_SHOWN_FAULTS])) + more
