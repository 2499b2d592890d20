"""Offers: what the installed plugins have of each kind, piece by piece, and what is wrong with the rest.

A name that two plugins claim for one kind belongs to neither, even if one of them is built in: installing a package
must not change what another one does, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution
from typing import Any, Final, Generic

from eurosky_pipeline.plugins.discovery import Origin, Plugin, PluginFault, PluginFaultError, load_plugins
from eurosky_pipeline.plugins.factories import FactoryError, check_factory
from eurosky_pipeline.plugins.foreign import (
    LOAD_LIMIT_S,
    TooSlow,
    let_interruption_through,
    prints_aside,
    shown,
    told,
    within,
)
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.kinds import KINDS, Kind, Made

_MAX_OFFERS: Final = 100


@dataclass(frozen=True, slots=True)
class Offer(Generic[Made]):
    """Something that can be had, and from whom."""

    kind: Kind[Made]
    name: str
    version: str
    origin: Origin
    factory: Factory[Made]


@dataclass(frozen=True, slots=True)
class Plugins:
    """All that is installed: what can be used, and what is wrong with the rest."""

    offers: tuple[Offer[Any], ...]
    faults: tuple[PluginFault, ...]

    def of(self, kind: Kind[Made]) -> list[Offer[Made]]:
        """What there is of a kind, sorted by name."""
        return sorted((offer for offer in self.offers if offer.kind is kind), key=lambda offer: offer.name)

    def faults_of(self, kind: Kind[Any], name: str) -> list[PluginFault]:
        """What is wrong with whoever should have had this."""
        return [fault for fault in self.faults if (fault.hook, fault.offers) == (kind.hook, name)]

    def faults_beside(self, kind: Kind[Any]) -> list[PluginFault]:
        """Those of plugins of which it is not known whether they would have had something of this kind."""
        return [fault for fault in self.faults if fault.offers is None and fault.hook in {None, kind.hook}]


def read_plugins(installed: Iterable[Distribution]) -> Plugins:
    """What the plugins of these packages offer; this runs code of theirs, and raises nothing of what they do wrong."""
    with prints_aside():
        plugins, faults = load_plugins(installed)
        offers: list[Offer[Any]] = []
        for part in (part for plugin in plugins for kind in KINDS for part in _offers(plugin, kind)):
            if isinstance(part, PluginFault):
                faults.append(part)
            else:
                offers.append(part)
    claims: dict[tuple[str, str], list[Offer[Any]]] = {}
    for offer in offers:
        claims.setdefault((offer.kind.hook, offer.name), []).append(offer)
    for (hook, name), claimants in claims.items():
        if len(claimants) > 1:
            reason = f"claims the name {name}, which is not its alone"
            faults += [PluginFault(offer.origin, reason, name, hook) for offer in claimants]
    usable = tuple(offer for offer in offers if len(claims[offer.kind.hook, offer.name]) == 1)
    return Plugins(usable, tuple(sorted(faults, key=str)))  # a file system lists packages in any order


def _offers(plugin: Plugin, kind: Kind[Any]) -> Iterator[Offer[Any] | PluginFault]:
    """What a plugin answers to the hook, piece by piece: one that is wrong does not take the others with it."""
    try:
        answers = plugin.ask(kind.hook)
    except PluginFaultError as error:
        yield error.fault
        return
    for answer in answers:
        if not isinstance(answer, list | tuple) or len(answer) > _MAX_OFFERS:
            reason = f"answers {kind.hook} with something else than a list of at most {_MAX_OFFERS}: {shown(answer)}"
            yield PluginFault(plugin.origin, reason, hook=kind.hook)
            continue
        try:
            yield from within(LOAD_LIMIT_S, partial(_checked, plugin.origin, kind, answer))
        except TooSlow as error:
            yield PluginFault(plugin.origin, f"offers what hangs when it is looked at: {error}", hook=kind.hook)


def _checked(origin: Origin, kind: Kind[Any], factories: Sequence[object]) -> list[Offer[Any] | PluginFault]:
    found: list[Offer[Any] | PluginFault] = []
    for factory in factories:
        name = None
        try:
            name = getattr(factory, "name", None)
            checked = check_factory(kind, factory)
            found.append(Offer(kind, checked.name, checked.version, origin, checked))
        except FactoryError as error:
            found.append(PluginFault(origin, str(error), name if isinstance(name, str) else None, kind.hook))
        except BaseException as error:
            let_interruption_through(error)
            found.append(PluginFault(origin, f"offers what cannot be looked at: {told(error)}", hook=kind.hook))
    return found
