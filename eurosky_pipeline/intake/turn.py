"""One intake source in one tick: what it offers is drawn within bounds, settled batch by batch, and answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from eurosky_pipeline.errors import PermanentError
from eurosky_pipeline.intake.entries import Defaults, Judge
from eurosky_pipeline.intake.intake import Outcome, Seen, settle
from eurosky_pipeline.intake.lookup import Lookup, NotLookedUp
from eurosky_pipeline.intake.offers import row_of
from eurosky_pipeline.intake.rows import Rejected, Row, RowRefused
from eurosky_pipeline.plugins.apart import Apart
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, IntakeSource, Registered, Reply
from eurosky_pipeline.registry.intake import Verdict
from eurosky_pipeline.registry.migration import is_token
from eurosky_pipeline.words import one_line

if TYPE_CHECKING:
    from eurosky_pipeline.intake.polling import Tick

MAX_OFFERS: Final = 5_000
"""How many offers are drawn from one source in a tick."""
SOURCE_BUDGET_S: Final = 10.0
LOOKUP_BUDGET_S: Final = 12.0
"""After so much of the tick no account is looked up any more: a slow host can take most of a minute."""
LATE_S: Final = 5.0
"""So long after its time is over a source that does not come back is left behind."""
ANSWER_LIMIT_S: Final = 8.0
"""How long it may take at least to hear the answers to a batch."""
CLOSE_LIMIT_S: Final = 5.0
BATCH_OFFERS: Final = 200
MAX_LINE: Final = 400
MAX_ORIGIN: Final = 160
_DRAWING_S: Final = 2.0
"""A source that takes its time for each offer has what it gave settled after so long."""

_LEAST_CALL_S: Final = 3.0

T = TypeVar("T")


class OfferError(PermanentError):
    """What a source offers is no offer."""

    default_code = "intake_source"


class Turn:
    """One source in one tick; all that it does, it does on a thread of its own. `close` it.

    Attributes:
        apart: that thread.
        is_ours: what is raised just now is not the source's doing.
        is_whole: all that was drawn has been answered, so that the source's cursor may move on.
    """

    def __init__(self, tick: Tick, source: IntakeSource, cursor: str | None) -> None:
        self._tick, self._source = tick, source
        now_s = time.monotonic()
        self._deadline_s = min(now_s + SOURCE_BUDGET_S, tick.began_s + tick.budget_s)
        self._lookup_deadline_s = min(self._deadline_s, tick.began_s + LOOKUP_BUDGET_S)
        self._seen = Seen()
        self._origins: dict[int, str] = {}
        self._count = 0
        self.is_ours = self.is_whole = False
        self.apart = Apart()
        # nothing that the source gets leads to the tick, and with it to the registry
        self._answers: Mapping[str, Callable[..., object]] = {
            "registered": tick.queue.next,
            "report": lambda line: tick.tell(f"{source.name}: {line}"),
        }
        self.context = IntakeContext(
            limit=MAX_OFFERS,
            registered=self.apart.asking("registered"),
            report=_as_text(self.apart.asking("report")),
            time_left_s=_left_until(self._deadline_s),
            cursor=cursor,
        )

    def time_left_s(self) -> float:
        return self._deadline_s - time.monotonic()

    def run(self) -> None:
        """Raises: what the source raises, or TooSlow where it hangs; and what the registry raises."""
        is_whole = True
        offers = self._call(lambda: iter(self._source.poll(self.context) or ()))
        try:
            while batch := self._call(partial(self._drawn, offers)):
                is_whole &= self._settle(batch)
                if not is_whole:
                    break
        finally:
            if not self.apart.is_left:
                self._call(partial(_closed, offers), CLOSE_LIMIT_S)
        self.is_whole = is_whole

    def close(self) -> None:
        """Close the source; one that was left behind will be when it comes back. Raises as `run`."""
        if self.apart.is_left:
            self.apart.end(self._source.close)
            return
        try:
            self._call(self._source.close, CLOSE_LIMIT_S)
        finally:
            self.apart.end()

    def _call(self, work: Callable[[], T], least_s: float = 0.0) -> T:
        return self.apart.call(work, max(self.time_left_s() + LATE_S, least_s, _LEAST_CALL_S), self._answers)

    def _drawn(self, offers: Iterator[Account | Registered]) -> list[Account | Registered]:
        """Some offers; none where the source has no more, or no more time."""
        found: list[Account | Registered] = []
        until_s = min(time.monotonic() + _DRAWING_S, self._deadline_s)
        while len(found) < BATCH_OFFERS and self._count < MAX_OFFERS and time.monotonic() < until_s:
            offer = next(offers, None)
            if offer is None:
                break
            if not isinstance(offer, Account | Registered):
                raise OfferError("it offers what is neither an Account nor a Registered")
            if not isinstance(offer.origin if isinstance(offer, Account) else offer.token, str):
                raise OfferError("it offers something whose origin, or token, is no text")
            found.append(offer)
            self._count += 1
        return found

    def _settle(self, batch: Sequence[Account | Registered]) -> bool:
        """Whether each has its answer."""
        answers = {**self._started(batch), **self._taken(batch)}
        told = [(batch[place], *answer) for place, answer in sorted(answers.items())]
        for offer, reply, token, reason in told:
            self._tick.note(offer, reply, token, reason)

        def tell() -> None:
            for offer, reply, token, reason in told:
                self._source.answered(offer, reply, token, reason)

        self._call(tell, ANSWER_LIMIT_S)
        return len(answers) == len(batch)

    def _started(self, batch: Sequence[Account | Registered]) -> dict[int, tuple[Reply, str | None, str]]:
        """Answers by place; none for those that there is no room for in this tick."""
        places = {place: offer.token for place, offer in enumerate(batch) if isinstance(offer, Registered)}
        with self._of_ours():
            taken = self._tick.queue.take([token for token in places.values() if is_token(token)])
        answers: dict[int, tuple[Reply, str | None, str]] = {}
        for place, token in places.items():
            if token in taken.started:
                answers[place] = (Reply.STARTED, token, "")
            elif token not in taken.postponed:
                answers[place] = (Reply.REJECTED, None, "no migration of that token wants to be started")
        return answers

    def _taken(self, batch: Sequence[Account | Registered]) -> dict[int, tuple[Reply, str | None, str]]:
        """Answers by place; none for those that there was no time to look up."""
        rows: list[Row | Rejected] = []
        first = self._count - len(batch)
        for place, offer in enumerate(batch):
            if isinstance(offer, Account):
                self._origins[first + place] = one_line(offer.origin, MAX_ORIGIN)
                try:
                    rows.append(row_of(offer, first + place))
                except RowRefused as error:
                    rows.append(Rejected(first + place, error.message))
        if not rows:
            return {}
        judge = Judge(self._tick.policy, {}, Defaults())
        with self._of_ours(), self._bounded_lookup() as lookup:
            outcomes = settle(rows, judge, lookup, self._tick.registry.take_in, self._seen, self._origins.__getitem__)
        return {outcome.line - first: _answer(outcome) for outcome in outcomes if not _is_postponed(outcome)}

    @contextmanager
    def _of_ours(self) -> Iterator[None]:
        self.is_ours = True
        yield
        self.is_ours = False  # not if it raises

    @contextmanager
    def _bounded_lookup(self) -> Iterator[Lookup]:
        lookup = self._tick.new_lookup()
        timer = threading.Timer(max(0.0, self._lookup_deadline_s - time.monotonic()), lookup.stop.set)
        timer.daemon = True
        timer.start()
        try:
            yield lookup
        finally:
            timer.cancel()


def _as_text(report: Callable[[str], None]) -> Callable[[object], None]:
    """What a source reports is made a text where it cannot hold us up."""
    return lambda line: report(str(line))


def _left_until(deadline_s: float) -> Callable[[], float]:
    return lambda: deadline_s - time.monotonic()


def _closed(offers: object) -> None:
    if callable(close := getattr(offers, "close", None)):
        close()


def _answer(outcome: Outcome) -> tuple[Reply, str | None, str]:
    if outcome.rejected is not None:
        return Reply.REJECTED, None, outcome.rejected.reason
    reply = Reply.ADDED if outcome.verdict is Verdict.ADDED else Reply.UNCHANGED
    return reply, outcome.token, one_line("; ".join(outcome.warnings), MAX_LINE)


def _is_postponed(outcome: Outcome) -> bool:
    return isinstance(outcome.rejected, NotLookedUp)
