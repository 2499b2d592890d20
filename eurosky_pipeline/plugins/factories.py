"""Factories: what a plugin may offer of each kind, checked before it counts as offered, and when it is used."""

from __future__ import annotations

import re

from eurosky_pipeline.plugins.foreign import let_interruption_through, shown, told
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.kinds import Kind, Made

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}", re.ASCII)


class FactoryError(Exception):
    """What is wrong with a factory, in words that can follow the plugin's name."""


def check_factory(kind: Kind[Made], factory: object) -> Factory[Made]:
    """What a plugin offers, once it is known to be a class of this kind, or a factory with name and version.

    Raises: FactoryError; and whatever it raises itself when it is looked at.
    """
    if not callable(factory):
        raise FactoryError(f"offers what is neither a class nor a factory: {shown(factory)}")
    called = shown(getattr(factory, "__qualname__", factory))
    name, version = getattr(factory, "name", None), getattr(factory, "version", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FactoryError(
            f"offers {called}, whose name is {shown(name)}: it must be 1 to 64 lower-case letters, digits and _, "
            "and begin with a letter"
        )
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise FactoryError(
            f"offers {name}, whose version is {shown(version)}: it must be 1 to 32 letters, digits and . + - _"
        )
    if flaw := kind.flaw(factory):
        raise FactoryError(f"offers {name}, whose {flaw}")
    if isinstance(factory, type):
        if not issubclass(factory, kind.base):
            raise FactoryError(f"offers {name}, whose class {called} is no {kind.base.__name__}")
        if missing := getattr(factory, "__abstractmethods__", None):
            raise FactoryError(f"offers {name}, whose class {called} lacks {', '.join(sorted(missing))}")
    return factory  # type: ignore[return-value]  # it has all that the protocol asks for


def make(kind: Kind[Made], factory: Factory[Made]) -> Made:
    """A new instance. Raises FactoryError if the factory raises, or gives something else than it says."""
    try:
        made: object = factory()
        called = (getattr(made, "name", None), getattr(made, "version", None))
        flaw = kind.flaw(made)
    except BaseException as error:
        let_interruption_through(error)
        raise FactoryError(f"cannot make {factory.name}: {told(error)}") from error
    if not isinstance(made, kind.base):
        raise FactoryError(f"makes something else than {kind.a_base} for {factory.name}: {shown(made)}")
    if flaw:
        raise FactoryError(f"makes {kind.a_base} for {factory.name} whose {flaw}")
    if called != (factory.name, factory.version):
        raise FactoryError(
            f"makes {kind.a_base} that calls itself {shown(called[0])} {shown(called[1])}, "
            f"and offers it as {factory.name} {factory.version}"
        )
    return made
