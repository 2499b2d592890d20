"""Event sinks: who is told what becomes of migrations, each event at least once and in the order of their ids.

A round of deliveries makes a new instance of every sink that the settings name, and takes it through these steps:

    is_configured()   once; a sink that has nowhere to send to is left out
    deliver(event)    for each event that it has not had, the oldest first
    close()           once, in whatever way the round has ended

What a sink never gets: the registry, credentials, a client, a path, or anything of an account but who it is and where
it moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar


class EventKind(StrEnum):
    """What an event tells of."""

    REGISTERED = "registered"
    """A migration is there that was not."""
    STATE_CHANGED = "state_changed"
    """It has gone from one state to another."""
    RUN_ENDED = "run_ended"
    """A run of it has ended; `summary` says what it did."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became of a migration.

    Attributes:
        id: grows from event to event, and is the same whenever this one is delivered: by it a receiver knows that it
            has had it.
        did, handle, source_pds, destination_pds: as the migration has them now; None where they are forgotten, or
            were never known.
        state_before: None where there was none, or it has not changed.
        error_code, error_text: where it failed, or waits: docs/troubleshooting.md tells the codes; hosts have a part
            in texts.
        summary: numbers and short texts by name, in JSON's types; empty for other kinds than a run's end.
        happened_at: in UTC.
    """

    id: int
    kind: EventKind
    token: str
    did: str | None
    handle: str | None
    source_pds: str | None
    destination_pds: str | None
    state_before: str | None
    state_after: str
    error_code: str | None
    error_text: str | None
    summary: Mapping[str, Any]
    happened_at: datetime

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, all keys always there; the moment in ISO 8601, UTC."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "token": self.token,
            "did": self.did,
            "handle": self.handle,
            "source_pds": self.source_pds,
            "destination_pds": self.destination_pds,
            "state_before": self.state_before,
            "state_after": self.state_after,
            "error_code": self.error_code,
            "error_text": self.error_text,
            "summary": dict(self.summary),
            "happened_at": self.happened_at.astimezone(UTC).isoformat(),
        }


class EventSink(ABC):
    """One receiver of events; a subclass has a `name`, a `version`, and at least `deliver`.

    It is made without arguments, once a round, and what it needs to know (an address, a key) is its own business.

    Attributes:
        name: how the settings call it; lower case, digits and `_`.
        version: for people.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def is_configured(self) -> bool:
        """Whether it has somewhere to send to: one that has not misses nothing, and is told nothing.

        Raises: EuroskyError where it is set up wrongly; it is named, and its events wait.
        """
        return True

    @abstractmethod
    def deliver(self, event: Event) -> None:
        """Hand the event on, within seconds; to come back is to have delivered it.

        The same event may come twice. None comes after one that waits, so a receiver sees them in their order.

        Raises: TransientError to be asked again later (after `retry_after_s`, if that is longer than the pipeline
            would wait), for up to a day; anything else, and this event is given up and named.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of files and connections; the round is over, in whatever way. May be called more than once."""
