"""The hooks: what the pipeline asks of a plugin, one function for each kind of thing that a plugin can add.

A plugin is a module that an entry point of the group `eurosky_pipeline` names, with a function for each hook that it
has something for, marked with `@hookimpl`. No hook gets credentials, a session, a client or a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import pluggy

if TYPE_CHECKING:
    from eurosky_pipeline.plugins.event_sinks import EventSink
    from eurosky_pipeline.plugins.intake_sources import IntakeSource
    from eurosky_pipeline.plugins.record_transforms import RecordTransform

PROJECT: Final = "eurosky_pipeline"
"""What the markers carry, and the group of entry points in which plugins are looked for."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


Made = TypeVar("Made", covariant=True)


class Factory(Protocol[Made]):
    """What makes one kind of thing: its class, or anything else that has its name and version and takes no arguments.

    The name and version stand on the factory too, since it is listed and chosen before anything is made of it.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def __call__(self) -> Made: ...


@hookspec
def eurosky_record_transforms() -> Sequence[type[RecordTransform] | Factory[RecordTransform]]:
    """The record transforms that this plugin offers, as a list or tuple of classes or factories.

    Asked once in a process, when the first plugin is needed. To offer a transform is not to run it: that is up to
    EUROSKY_RECORD_TRANSFORMS, which names those that run, and the order. Each conversion makes new instances.
    """
    raise NotImplementedError  # never called: pluggy reads the signature


@hookspec
def eurosky_intake_sources() -> Sequence[type[IntakeSource] | Factory[IntakeSource]]:
    """The intake sources that this plugin offers, as a list or tuple of classes or factories.

    Asked once in a process. Those that EUROSKY_INTAKE_SOURCES names are polled; each tick makes new instances.
    """
    raise NotImplementedError


@hookspec
def eurosky_event_sinks() -> Sequence[type[EventSink] | Factory[EventSink]]:
    """The event sinks that this plugin offers, as a list or tuple of classes or factories.

    Asked once in a process. Those that EUROSKY_EVENT_SINKS names are told; each round of deliveries makes new
    instances.
    """
    raise NotImplementedError
