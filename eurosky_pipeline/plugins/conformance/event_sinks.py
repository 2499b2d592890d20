"""Whether an event sink keeps its promises.

The check hands it events of each kind, whole and bare, once and again, from one instance and the next.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from eurosky_pipeline.errors import TransientError
from eurosky_pipeline.plugins.conformance.steps import ConformanceError, checked, step
from eurosky_pipeline.plugins.event_sinks import Event, EventKind, EventSink
from eurosky_pipeline.plugins.factories import make
from eurosky_pipeline.plugins.foreign import shown
from eurosky_pipeline.plugins.hooks import Factory
from eurosky_pipeline.plugins.kinds import EVENT_SINKS

FIRST_ID: Final = 9_007_199_254_000_001
"""High, so that an author's receiver can hold other events, too."""
_AT: Final = datetime(2026, 1, 31, 23, 59, 59, 999_999, UTC)
_SUMMARY: Final[dict[str, Any]] = {
    "attempt": 2,
    "duration_s": 12.5,
    "blobs_completed": 41,
    "blobs_total": 42,
    "bytes_transferred": 2**53,
    "reconciliation_status": "partial",
    "resume_at": None,
}


def check_event_sink(
    factory: object,
    *,
    received: Callable[[], Collection[int]] | None = None,
    down: Callable[[], AbstractContextManager[object]] | None = None,
) -> None:
    """Hand an event sink events of all kinds; silent if it keeps all its promises.

    They are:
        - a valid name and version, on the factory and on what it makes, which is a new instance each time;
        - it is configured, and takes every event without raising, also one of which nothing is known but what has to
          be, and one that it, or an instance before it, has had;
        - an event is delivered when `deliver` comes back, not when the sink is closed;
        - while its receiver is down, `deliver` raises TransientError and nothing else, and delivers the event later;
        - it changes no event; `close` does not raise, and may be called again;
        - nothing is printed on stdout, which belongs to the commands' results.

    Args:
        factory: what the hook gives: the class, or a factory with name and version; set up so that it can deliver.
        received: the ids of the events that its receiver has; None where nobody can tell.
        down: a context in which its receiver cannot be reached, or written to; None where that cannot be had.

    Raises: ConformanceError: the first promise found broken.
    """
    sound = checked(EVENT_SINKS, factory)
    events = sample_events()
    for _ in range(2):  # at least once is what is promised to it
        _deliver_all(sound, events, received)
    if down is not None:
        late = _event(FIRST_ID + len(events), EventKind.STATE_CHANGED, is_bare=False)
        _check_down(sound, late, down)
        _deliver_all(sound, [late], received)


def sample_events() -> list[Event]:
    """Events of each kind, whole and with nothing that need not be there."""
    shapes = [(kind, is_bare) for kind in EventKind for is_bare in (False, True)]
    return [_event(FIRST_ID + number, kind, is_bare=is_bare) for number, (kind, is_bare) in enumerate(shapes)]


def _event(event_id: int, kind: EventKind, *, is_bare: bool) -> Event:
    known: dict[str, Any] = {
        "did": "did:plc:conformance2conformance2",
        "handle": "zoë.example",
        "source_pds": "https://old.example",
        "destination_pds": "https://new.example",
        "state_before": "pending_repo",
        "error_code": "host_unreachable",
        "error_text": 'https://new.example: no answer, "<b>"\n\u2028\x1b[31m \U0001f600',
    }
    return Event(
        id=event_id,
        kind=kind,
        token="EURO-CONFORMANCE00000",  # noqa: S106  # a migration's name, and no secret
        **(dict.fromkeys(known) if is_bare else known),
        state_after="failed",
        summary={} if is_bare else dict(_SUMMARY),
        happened_at=_AT + timedelta(seconds=event_id - FIRST_ID),
    )


def _deliver_all(
    factory: Factory[EventSink], events: list[Event], received: Callable[[], Collection[int]] | None
) -> None:
    sink = _configured(factory)
    for event in events:
        what = f"deliver({event.kind}{'' if event.did else ', bare'})"
        before = copy.deepcopy(event)
        for again in ("", " again"):
            with step(sink.name, what + again):
                sink.deliver(event)
        if event != before:
            raise ConformanceError(f"{sink.name}: {what} changes the event")
        if received is not None and event.id not in received():
            raise ConformanceError(f"{sink.name}: {what} comes back, and its receiver has not got the event")
    _close(sink)


def _check_down(factory: Factory[EventSink], event: Event, down: Callable[[], AbstractContextManager[object]]) -> None:
    with down():
        sink = _configured(factory)
        try:
            with step(sink.name, "deliver while its receiver is down", may_raise=TransientError):
                sink.deliver(event)
        except TransientError:
            _close(sink)
            return
        raise ConformanceError(f"{sink.name}: deliver comes back although its receiver is down: the event is lost")


def _configured(factory: Factory[EventSink]) -> EventSink:
    sink = make(EVENT_SINKS, factory)
    with step(sink.name, "is_configured"):
        answer: object = sink.is_configured()
    if answer is not True:
        raise ConformanceError(f"{sink.name}: is_configured gives {shown(answer)}, and not True: set it up first")
    return sink


def _close(sink: EventSink) -> None:
    for _ in range(2):
        with step(sink.name, "close"):
            sink.close()
