"""The intake source `registered`: what is in the registry and wants to be started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from eurosky_pipeline.plugins.hooks import hookimpl
from eurosky_pipeline.plugins.intake_sources import IntakeContext, IntakeSource, Registered


class RegisteredSource(IntakeSource):
    """Those that somebody has added or brought back, and no run has begun on since: the oldest wish first."""

    name: ClassVar[str] = "registered"
    version: ClassVar[str] = "1"

    def poll(self, context: IntakeContext) -> Iterable[Registered]:
        return context.registered(context.limit)


@hookimpl
def eurosky_intake_sources() -> Sequence[type[IntakeSource]]:
    return [RegisteredSource]
