"""One tick of the intake: every source is polled in its turn, what it offers is registered, what wants a run is named.

Belongs here: the bounds of a tick, and what a source gets to hear. Does not: how a row is judged (`entries`, `intake`),
the sources themselves, and the runs (`orchestration`).

Ends anywhere without harm: what was registered is in, and what no source was told of is offered again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.intake.entries import Defaults, Judge
from eurosky_pipeline.intake.intake import Outcome, Seen, settle
from eurosky_pipeline.intake.lookup import Lookup, NotLookedUp
from eurosky_pipeline.intake.offers import row_of
from eurosky_pipeline.intake.queue import StartQueue
from eurosky_pipeline.intake.rows import Rejected, Row, RowRefused, one_line
from eurosky_pipeline.plugins.intake_sources import (
    MAX_CURSOR_CHARACTERS,
    Account,
    IntakeContext,
    IntakeSource,
    Registered,
    Reply,
)
from eurosky_pipeline.registry.intake import Verdict
from eurosky_pipeline.registry.migration import Migration, is_token
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.xrpc.host_policy import HostPolicy

MAX_OFFERS: Final = 5_000
"""How many offers are drawn from one source in a tick."""
SOURCE_BUDGET_S: Final = 10.0
TICK_BUDGET_S: Final = 25.0
"""Dagster gives a tick 60 s; a last batch, and a last lookup, may come after this."""
LOOKUP_BUDGET_S: Final = 12.0
"""After so much of the tick no account is looked up any more: a slow host can take most of a minute."""
BATCH_OFFERS: Final = 200
MAX_LINES: Final = 40
_MAX_LINE: Final = 400
_DRAWING_S: Final = 2.0
"""A source that takes its time for each offer has what it gave settled after so long."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What a tick has come to.

    Attributes:
        starts: migrations that want a run, each once, at most as many as were asked for.
        added, unchanged, rejected: accounts, by what became of them.
        told: lines for people, bounded in number and length.
        faults: the sources that failed, a line each; they stand in `told` too.
        cursors: to be handed to the next tick.
    """

    starts: tuple[Migration, ...]
    added: int
    unchanged: int
    rejected: int
    told: tuple[str, ...]
    faults: tuple[str, ...]
    cursors: dict[str, str]

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(migration.token for migration in self.starts)


def poll(
    registry: Registry,
    sources: Sequence[IntakeSource],
    *,
    missing: Sequence[str] = (),
    policy: HostPolicy,
    new_lookup: Callable[[], Lookup],
    limit: int,
    cursors: Mapping[str, str],
    can_start: Callable[[Migration], bool] = lambda _: True,
    budget_s: float = TICK_BUDGET_S,
) -> Polled:
    """Poll the sources in this order.

    Args:
        missing: sources that cannot be had, a line each.
        limit: how many runs may be asked for; accounts are registered also where it is 0.
        cursors: what the tick before gave back.
        can_start: whether a run may be asked for now; not, where one is under way.

    Raises: what the registry raises; the tick has to be made again then.
    """
    tick = _Tick(registry, policy, new_lookup, StartQueue(registry, limit, cursors, can_start), budget_s)
    for line in missing:
        tick.fault(line)
    kept: dict[str, str] = {}
    for source in sources:
        kept |= tick.poll(source, cursors.get(source.name))
    tick.start_added()
    return Polled(
        starts=tuple(tick.queue.taken),
        added=tick.counts[Reply.ADDED],
        unchanged=tick.counts[Reply.UNCHANGED],
        rejected=tick.counts[Reply.REJECTED],
        told=tuple(tick.lines),
        faults=tuple(tick.faults),
        cursors={**kept, **tick.queue.cursors},
    )


@dataclass(slots=True)
class _Tick:
    registry: Registry
    policy: HostPolicy
    new_lookup: Callable[[], Lookup]
    queue: StartQueue
    budget_s: float
    began_s: float = field(default_factory=time.monotonic)
    counts: dict[Reply, int] = field(default_factory=lambda: dict.fromkeys(Reply, 0))
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _added: list[str] = field(default_factory=list)

    def poll(self, source: IntakeSource, cursor: str | None) -> dict[str, str]:
        """Poll one source; its cursor, if it has one. Raises nothing of what the source does wrong."""
        turn = _Turn(self, source, cursor)
        if turn.time_left_s() <= 0:
            self.tell(f"{source.name}: not polled, the time of the tick was over; the next tick does")
            return {} if cursor is None else {source.name: cursor}
        try:
            turn.run()
        except (Exception, SystemExit) as error:
            if self.queue.error is not None or turn.is_ours:
                raise
            self.blame(source, "failed", error)
        finally:
            self._close(source)
        late_s = -turn.time_left_s()
        if late_s > SOURCE_BUDGET_S / 2:
            self.fault(f"{source.name}: went on for {late_s:.0f} s longer than it may; the others come later for it")
        kept = turn.context.cursor if turn.is_whole else cursor
        if kept is not None and (not isinstance(kept, str) or len(kept) > MAX_CURSOR_CHARACTERS):
            self.fault(f"{source.name}: its cursor is no text of at most {MAX_CURSOR_CHARACTERS} characters")
            kept = cursor
        return {} if kept is None else {source.name: kept}

    def start_added(self) -> None:
        """Those that this tick has registered go into the room that is left."""
        self.queue.take(self._added[: self.queue.room])

    def note(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:
        self.counts[reply] += 1
        if reply is Reply.ADDED and token is not None:
            self._added.append(token)
        if reason:
            about = one_line(str(offer.origin), 160) if isinstance(offer, Account) else one_line(str(offer.token))
            self.tell(f"{about}: {'rejected, ' if reply is Reply.REJECTED else ''}{reason}")

    def tell(self, line: str) -> None:
        if len(self.lines) < MAX_LINES:
            self.lines.append(one_line(str(line), _MAX_LINE))
        elif len(self.lines) == MAX_LINES:
            self.lines.append("and more that is not told here")

    def blame(self, source: IntakeSource, what: str, error: BaseException) -> None:
        """An error that is not ours is named by its kind only: its text may hold a secret."""
        text = error.with_hint() if isinstance(error, EuroskyError) else f"an unexpected {type(error).__name__}"
        self.fault(f"{source.name}: {what}: {text}")

    def fault(self, line: str) -> None:
        shown = one_line(line, _MAX_LINE)
        self.faults.append(shown)
        if len(self.lines) > MAX_LINES:  # whatever else there is to tell
            self.lines.insert(0, shown)
        else:
            self.tell(shown)

    def _close(self, source: IntakeSource) -> None:
        try:
            source.close()
        except (Exception, SystemExit) as error:
            self.blame(source, "could not be closed", error)


class _Turn:
    """One source in one tick.

    Attributes:
        is_ours: what is raised just now is not the source's doing.
        is_whole: all that was drawn has been answered, so that the source's cursor may move on.
    """

    def __init__(self, tick: _Tick, source: IntakeSource, cursor: str | None) -> None:
        self._tick, self._source = tick, source
        now_s = time.monotonic()
        self._deadline_s = min(now_s + SOURCE_BUDGET_S, tick.began_s + tick.budget_s)
        self._lookup_deadline_s = min(self._deadline_s, tick.began_s + LOOKUP_BUDGET_S)
        self._seen = Seen()
        self._origins: dict[int, str] = {}
        self._count = 0
        self.is_ours = self.is_whole = False
        self.context = IntakeContext(
            limit=MAX_OFFERS,
            registered=tick.queue.next,
            report=lambda line: tick.tell(f"{source.name}: {line}"),
            time_left_s=self.time_left_s,
            cursor=cursor,
        )

    def time_left_s(self) -> float:
        return self._deadline_s - time.monotonic()

    def run(self) -> None:
        is_whole = True
        offers = iter(self._source.poll(self.context) or ())
        try:
            while batch := self._drawn(offers):
                is_whole &= self._settle(batch)
                if not is_whole:
                    break
        finally:
            if callable(close := getattr(offers, "close", None)):
                close()
        self.is_whole = is_whole

    def _drawn(self, offers: Iterator[Account | Registered]) -> list[Account | Registered]:
        """Some offers; none where the source has no more, or no more time."""
        found: list[Account | Registered] = []
        until_s = min(time.monotonic() + _DRAWING_S, self._deadline_s)
        while len(found) < BATCH_OFFERS and self._count < MAX_OFFERS and time.monotonic() < until_s:
            offer = next(offers, None)
            if offer is None:
                break
            if not isinstance(offer, Account | Registered):
                raise TypeError(f"{self._source.name} offers neither an Account nor a Registered")
            found.append(offer)
            self._count += 1
        return found

    def _settle(self, batch: Sequence[Account | Registered]) -> bool:
        """Whether each has its answer."""
        self.is_ours = True
        answers = {**self._started(batch), **self._taken(batch)}
        self.is_ours = False
        for place, (reply, token, reason) in sorted(answers.items()):
            self._tick.note(batch[place], reply, token, reason)
            self._source.answered(batch[place], reply, token, reason)
        return len(answers) == len(batch)

    def _started(self, batch: Sequence[Account | Registered]) -> dict[int, tuple[Reply, str | None, str]]:
        """Answers by place; none for those that there is no room for in this tick."""
        places = {place: offer.token for place, offer in enumerate(batch) if isinstance(offer, Registered)}
        known = [token for token in places.values() if isinstance(token, str) and is_token(token)]
        taken = self._tick.queue.take(known)
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
                self._origins[first + place] = one_line(str(offer.origin), 160)
                try:
                    rows.append(row_of(offer, first + place))
                except RowRefused as error:
                    rows.append(Rejected(first + place, error.message))
        if not rows:
            return {}
        judge = Judge(self._tick.policy, {}, Defaults())
        with self._bounded_lookup() as lookup:
            outcomes = settle(rows, judge, lookup, self._tick.registry.take_in, self._seen, self._origins.__getitem__)
        return {outcome.line - first: _answer(outcome) for outcome in outcomes if not _is_postponed(outcome)}

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


def _answer(outcome: Outcome) -> tuple[Reply, str | None, str]:
    if outcome.rejected is not None:
        return Reply.REJECTED, None, outcome.rejected.reason
    reply = Reply.ADDED if outcome.verdict is Verdict.ADDED else Reply.UNCHANGED
    return reply, outcome.token, one_line("; ".join(outcome.warnings), _MAX_LINE)


def _is_postponed(outcome: Outcome) -> bool:
    return isinstance(outcome.rejected, NotLookedUp)
