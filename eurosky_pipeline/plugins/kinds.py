"""The kinds of things that a plugin can add: for each the hook that asks for it, and the setting that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from eurosky_pipeline.plugins.event_sinks import EventSink
from eurosky_pipeline.plugins.foreign import shown
from eurosky_pipeline.plugins.intake_sources import IntakeSource
from eurosky_pipeline.plugins.record_transforms import RecordTransform

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Made]):
    """One kind of plugin.

    Attributes:
        title: for people, as in "the record transform 'x'".
        base: the class of which all of this kind are.
        variable: the setting that names those that are used.
        flaw: what is wrong with one, or with its factory, besides name and version; empty if nothing is.
    """

    title: str
    base: type[Made]
    hook: str
    variable: str
    flaw: Callable[[object], str] = lambda _: ""

    @property
    def key(self) -> str:
        """For programs."""
        return self.title.replace(" ", "_")

    @property
    def a_base(self) -> str:
        return f"{'an' if self.base.__name__[0] in 'AEIOU' else 'a'} {self.base.__name__}"


def _flaw_of_transform(it: object) -> str:
    needle: object = getattr(it, "needle", b"")
    return "" if isinstance(needle, bytes) else f"needle is no bytes: {shown(needle)}"


RECORD_TRANSFORMS: Final = Kind(
    title="record transform",
    base=RecordTransform,  # type: ignore[type-abstract]
    hook="eurosky_record_transforms",
    variable="EUROSKY_RECORD_TRANSFORMS",
    flaw=_flaw_of_transform,
)
INTAKE_SOURCES: Final = Kind(
    title="intake source",
    base=IntakeSource,  # type: ignore[type-abstract]
    hook="eurosky_intake_sources",
    variable="EUROSKY_INTAKE_SOURCES",
)
EVENT_SINKS: Final = Kind(
    title="event sink",
    base=EventSink,  # type: ignore[type-abstract]
    hook="eurosky_event_sinks",
    variable="EUROSKY_EVENT_SINKS",
)
KINDS: Final[tuple[Kind[Any], ...]] = (RECORD_TRANSFORMS, INTAKE_SOURCES, EVENT_SINKS)
