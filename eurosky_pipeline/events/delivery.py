"""Telling the sinks what has been put down: each in the order of the events, at least once, within a budget of time.

One that cannot be reached is asked again after 10 s, 30 s, 2, 10 and 30 minutes, then every hour, for a day; meanwhile
what comes after waits, so that nobody sees things out of order. What a sink refuses is given up at once, and named.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.plugins.event_sinks import Event, EventSink
from eurosky_pipeline.plugins.foreign import TooSlow, kind_of, within
from eurosky_pipeline.plugins.manager import load_event_sinks
from eurosky_pipeline.plugins.offers import Plugins
from eurosky_pipeline.registry.deliveries import DeliveryOutcome, Outbox, Pending, Result
from eurosky_pipeline.settings import Settings
from eurosky_pipeline.words import squeezed

FIRST_WAITS_S: Final = (10.0, 30.0, 120.0, 600.0, 1800.0)
LATER_WAIT_S: Final = 3600.0
MAX_ATTEMPTS: Final = 29
"""The first, five after the first waits, and one an hour for the rest of a day."""
LONGEST_WAIT_S: Final = 86_400.0
"""However much patience a receiver asks for."""
KEPT: Final = timedelta(days=7)
"""What nobody has been told by then is deleted."""
SINK_TIMEOUT_S: Final = 15.0
"""For one event. A sink that takes longer is left behind, on a thread of its own."""
_CLOSE_TIMEOUT_S: Final = 2.0
_SIDE_BY_SIDE: Final = 8
_CLAIM: Final = timedelta(seconds=60)
_RECORD_EVERY_S: Final = 2.0
_PAGE_EVENTS: Final = 100
_NAMED: Final = 10
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What has become of one sink's events.

    Attributes:
        delivered: how many it has had, this time.
        waiting: how many it has not had; `next_try_at` and `reason` of the one that was tried in vain.
        given_up: those that it will not have, a line for each, this time.
        fault: why it was told nothing; empty if it was.
    """

    sink: str
    delivered: int = 0
    waiting: int = 0
    next_try_at: datetime | None = None
    reason: str = ""
    given_up: tuple[str, ...] = ()
    fault: str = ""

    def lines(self) -> Iterator[str]:
        """For people; nothing in them names an account."""
        if self.delivered:
            yield f"{self.sink}: {counted(self.delivered)} delivered"
        yield from self.trouble()
        if self.waiting and not self.fault and self.next_try_at is None:
            yield f"{self.sink}: {counted(self.waiting)} waiting: there was no more time, or another process tells it"

    def trouble(self) -> Iterator[str]:
        """Of those lines, what is not as it should be."""
        yield from (f"{self.sink}: given up: {line}" for line in self.given_up[:_NAMED])
        if len(self.given_up) > _NAMED:
            yield f"{self.sink}: given up: {len(self.given_up) - _NAMED} more"
        if self.fault:
            yield f"{self.sink}: {counted(self.waiting)} waiting: {self.fault}"
        elif self.waiting and self.next_try_at is not None:
            until = f"{self.next_try_at:%Y-%m-%d %H:%M:%S} UTC"
            yield f"{self.sink}: {counted(self.waiting)} waiting until {until}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What has become of the events. `untold` is how many were deleted since they were too old, and not told."""

    sinks: tuple[Told, ...]
    untold: int = 0

    def lines(self) -> list[str]:
        """For people; none where nothing is to be said."""
        lines = [line for sink in self.sinks for line in sink.lines()]
        return [*lines, f"{counted(self.untold)} deleted untold, after a week"] if self.untold else lines

    @property
    def delivered(self) -> int:
        return sum(sink.delivered for sink in self.sinks)


def deliver(
    settings: Settings,
    outbox: Outbox,
    budget_s: float,
    *,
    is_tidying: bool = False,
    plugins: Plugins | None = None,
) -> Delivered:
    """Give each sink of the settings what it has not had, for about so many seconds in all; side by side.

    Of two that deliver at once, each sink listens to one; nothing of a sink's doing stops the others.

    Args:
        is_tidying: delete what everybody has had. For the service alone: another process may be without the settings
            that name a receiver.
        plugins: where sinks are taken from; None: what is installed.
    Raises: what the outbox raises where its database is away.
    """
    until_s = time.monotonic() + budget_s
    loaded = load_event_sinks(settings.event_sinks, plugins=plugins)
    faults = {missing.name: missing.reason for missing in loaded.missing}
    told: list[Told] = []
    try:
        sinks = [sink for sink in loaded.made if _is_configured(sink, faults)]
        wanted = [*(sink.name for sink in sinks), *faults]
        untold = _drop_old(outbox, wanted)
        if sinks:
            with ThreadPoolExecutor(min(len(sinks), _SIDE_BY_SIDE), "events") as pool:
                told += pool.map(lambda sink: _tell(outbox, sink, until_s), sinks)
        told += [_standing(outbox, name, fault=reason) for name, reason in faults.items()]
        if is_tidying:
            outbox.delete_done(wanted)
    finally:
        for sink in loaded.made:
            with suppress(Exception):  # what it has had, it has had
                within(_CLOSE_TIMEOUT_S, sink.close)
    return Delivered(tuple(told), untold)


def counted(events: int) -> str:
    """So many events, for people."""
    return f"{events:,} event{'' if events == 1 else 's'}"


def wait_s(attempts: int, asked_s: float | None = None) -> float:
    """How long to wait after so many tries in vain; longer, if the receiver has asked for that."""
    usual_s = FIRST_WAITS_S[attempts - 1] if attempts <= len(FIRST_WAITS_S) else LATER_WAIT_S
    return min(max(usual_s, asked_s or 0.0), LONGEST_WAIT_S)


def _is_configured(sink: EventSink, faults: dict[str, str]) -> bool:
    """What is wrong with it goes into `faults`."""
    try:
        return within(SINK_TIMEOUT_S, sink.is_configured)
    except EuroskyError as error:
        faults[sink.name] = error.with_hint()
    except Exception as error:
        faults[sink.name] = f"it has raised {kind_of(error)}"
    return False


def _drop_old(outbox: Outbox, wanted: Sequence[str]) -> int:
    before = _now() - KEPT
    untold = outbox.count_untold(before, wanted)
    outbox.delete_old(before)
    return untold


def _tell(outbox: Outbox, sink: EventSink, until_s: float) -> Told:
    """Everything that is due, until it is not taken, or the time is up."""
    holder, now = secrets.token_hex(8), _now()
    if not outbox.claim(sink.name, holder, now, now + _CLAIM):
        return _standing(outbox, sink.name)
    delivered, given_up, last = 0, list[str](), 0
    try:
        while page := outbox.pending(sink.name, _now(), after=last, limit=_PAGE_EVENTS):
            results = _try(sink, page, until_s)
            is_ours = outbox.record(sink.name, holder, results, _now(), _now() + _CLAIM)
            delivered += sum(result.outcome is DeliveryOutcome.DELIVERED for result in results)
            given_up += [
                f"[{pending.event.token}] event {result.event_id}: {result.error_text}"
                for pending, result in zip(page, results, strict=False)
                if result.outcome is DeliveryOutcome.GIVEN_UP
            ]
            if not is_ours or results[-1].outcome is DeliveryOutcome.WAITING or time.monotonic() >= until_s:
                break
            last = results[-1].event_id
    finally:
        outbox.release(sink.name, holder)
    return _standing(outbox, sink.name, delivered=delivered, given_up=tuple(given_up))


def _try(sink: EventSink, page: Sequence[Pending], until_s: float) -> list[Result]:
    """What has become of as many of these, the first at least, as were tried before they have to be written down."""
    write_at_s = min(until_s, time.monotonic() + _RECORD_EVERY_S)
    results: list[Result] = []
    for pending in page:
        results.append(_tried(sink, pending))
        if results[-1].outcome is DeliveryOutcome.WAITING or time.monotonic() >= write_at_s:
            break
    return results


def _tried(sink: EventSink, pending: Pending) -> Result:
    event, attempts = pending.event, pending.attempts + 1
    try:
        within(SINK_TIMEOUT_S, lambda: sink.deliver(event))
    except TransientError as error:
        return _again(event, attempts, error.message, error.retry_after_s)
    except TooSlow:
        return _again(event, attempts, f"it has not come back within {SINK_TIMEOUT_S:.0f} s", None)
    except EuroskyError as error:
        return Result(event.id, DeliveryOutcome.GIVEN_UP, attempts, None, _nameless(error.message, event))
    except Exception as error:  # its text may be anything
        return Result(event.id, DeliveryOutcome.GIVEN_UP, attempts, None, f"it has raised {kind_of(error)}")
    return Result(event.id, DeliveryOutcome.DELIVERED, attempts)


def _again(event: Event, attempts: int, reason: str, asked_s: float | None) -> Result:
    if attempts >= MAX_ATTEMPTS:
        text = f"{attempts} tries in a day: {_nameless(reason, event)}"
        return Result(event.id, DeliveryOutcome.GIVEN_UP, attempts, None, text)
    next_try_at = _now() + timedelta(seconds=wait_s(attempts, asked_s))
    return Result(event.id, DeliveryOutcome.WAITING, attempts, next_try_at, _nameless(reason, event))


def _nameless(text: str, event: Event) -> str:
    """It is shown where nobody can be forgotten; a sink may not have thought of that."""
    for name in (event.did, event.handle):
        if name:
            text = text.replace(name, "(the account)")
    return squeezed(text, _LONGEST_REASON)


def _standing(
    outbox: Outbox, name: str, *, delivered: int = 0, given_up: tuple[str, ...] = (), fault: str = ""
) -> Told:
    found = outbox.standing(name, named=0)
    return Told(name, delivered, found.waiting, found.next_try_at, found.error_text, given_up, fault)


def _now() -> datetime:
    return datetime.now(UTC)
