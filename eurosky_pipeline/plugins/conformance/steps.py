"""What the checks of all kinds have in common: how a step of the author's is run, and what a factory has to keep."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from eurosky_pipeline.plugins.factories import FactoryError, check_factory, make
from eurosky_pipeline.plugins.foreign import told
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.kinds import Kind, Made


class ConformanceError(AssertionError):
    """A promise that the plugin does not keep."""


@contextmanager
def step(name: str, what: str, *, may_raise: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Runs a step of the author's.

    Args:
        name: of the plugin.
        may_raise: what it may end with; that goes through as it is.

    Raises: ConformanceError if it raises something else, or prints on stdout.
    """
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    except may_raise:
        raise
    except Exception as error:
        raise ConformanceError(f"{name}: {what} raises {told(error)}") from error
    if printed.getvalue():
        raise ConformanceError(f"{name}: {what} prints on stdout, which belongs to the commands' results")


def checked(kind: Kind[Made], factory: object) -> Factory[Made]:
    """The factory, with a valid name and version, and new instances of its kind. Raises ConformanceError."""
    try:
        sound = check_factory(kind, factory)
        with step(sound.name, "to make it"):
            first, second = make(kind, sound), make(kind, sound)
    except FactoryError as error:
        raise ConformanceError(f"the plugin {error}") from error
    if first is second:
        raise ConformanceError(f"the factory of {sound.name} gives the same instance twice: they must not be shared")
    return sound
