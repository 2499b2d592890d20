"""One tick of the intake: every source is polled in its turn, what it offers is registered, what wants a run is named.

Belongs here: the bounds of a tick, and what a source gets to hear. Does not: how a row is judged (`entries`, `intake`),
the sources themselves, and the runs (`orchestration`).

Ends anywhere without harm: what was registered is in, and what no source was told of is offered again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.intake.lookup import Lookup
from eurosky_pipeline.intake.queue import StartQueue
from eurosky_pipeline.intake.turn import MAX_LINE, MAX_ORIGIN, SOURCE_BUDGET_S, Turn
from eurosky_pipeline.plugins.apart import Apart
from eurosky_pipeline.plugins.foreign import TooSlow, kind_of, let_interruption_through
from eurosky_pipeline.plugins.intake_sources import MAX_CURSOR_CHARACTERS, Account, IntakeSource, Registered, Reply
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.words import one_line
from eurosky_pipeline.xrpc.host_policy import HostPolicy

TICK_BUDGET_S: Final = 25.0
"""Dagster gives a tick 60 s; a last batch, and a last lookup, may come after this."""
MAX_LINES: Final = 40
_DID: Final = re.compile(r"did:[a-z]+:[^\s'\"…]+")
_LEAST_NAME: Final = 8
_WHOLE: Final = r"(?<![\w.:-]){}(?![\w:…-]|\.\w)"
_left: Final[dict[str, Apart]] = {}
"""The sources of this process that did not come back: while one of them hangs, none of its name is polled."""


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
    tick = Tick(registry, policy, new_lookup, StartQueue(registry, limit, cursors, can_start), budget_s)
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
class Tick:
    """What the sources of one tick share: what they are judged by, and what has come of them so far."""

    registry: Registry
    policy: HostPolicy
    new_lookup: Callable[[], Lookup]
    queue: StartQueue
    budget_s: float
    began_s: float = field(default_factory=lambda: time.monotonic())
    counts: dict[Reply, int] = field(default_factory=lambda: dict.fromkeys(Reply, 0))
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def poll(self, source: IntakeSource, cursor: str | None) -> dict[str, str]:
        """Poll one source; its cursor, if it has one. Raises nothing of what the source does wrong."""
        turn = Turn(self, source, cursor)
        if turn.time_left_s() <= 0:
            self.tell(f"{source.name}: not polled, the time of the tick was over; the next tick does")
            return {} if cursor is None else {source.name: cursor}
        if source.name in _left and _left[source.name].is_running:
            self.fault(f"{source.name}: still hangs since an earlier tick, and is not polled before that ends")
            return {} if cursor is None else {source.name: cursor}
        _left.pop(source.name, None)
        try:
            turn.run()
        except BaseException as error:
            let_interruption_through(error)
            if self.queue.error is not None or turn.is_ours:
                raise
            self.blame(source, "failed", error)
        finally:
            self._close(source, turn)
            if turn.apart.is_left:
                _left[source.name] = turn.apart
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
        self.queue.take(self.added[: self.queue.room])

    def note(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:
        self.counts[reply] += 1
        if reply is Reply.ADDED and token is not None:
            self.added.append(token)
        if reply is Reply.REJECTED:
            about = one_line(offer.origin, MAX_ORIGIN) if isinstance(offer, Account) else one_line(offer.token)
            self.tell(f"{about}: rejected, {_nameless(reason, offer)}")

    def tell(self, line: str) -> None:
        if len(self.lines) < MAX_LINES:
            self.lines.append(one_line(str(line), MAX_LINE))
        elif len(self.lines) == MAX_LINES:
            self.lines.append("and more that is not told here")

    def blame(self, source: IntakeSource, what: str, error: BaseException) -> None:
        """An error that is not ours is named by its kind only: its text may hold a secret."""
        text = error.with_hint() if isinstance(error, EuroskyError) else f"an unexpected {kind_of(error)}"
        if isinstance(error, TooSlow):
            text = f"it hangs, and is left behind: {error}"
        self.fault(f"{source.name}: {what}: {text}")

    def fault(self, line: str) -> None:
        shown = one_line(line, MAX_LINE)
        self.faults.append(shown)
        if len(self.lines) > MAX_LINES:  # whatever else there is to tell
            self.lines.insert(0, shown)
        else:
            self.tell(shown)

    def _close(self, source: IntakeSource, turn: Turn) -> None:
        try:
            turn.close()
        except Exception as error:
            self.blame(source, "could not be closed", error)


def _nameless(reason: str, offer: Account | Registered) -> str:
    """Without whose account it is: Dagster keeps what a tick tells where no purge reaches. The source hears all."""
    if isinstance(offer, Account):
        for name in ("did", "handle"):
            value = offer.fields.get(name)
            if isinstance(value, str) and (word := value.strip().removeprefix("@")):
                # what may be a word of the sentence, too, is meant only where it is quoted
                is_name = len(word) >= _LEAST_NAME and (":" in word or "." in word)
                around = _WHOLE if is_name else "'@?{}'"
                put = f"its {name}" if is_name else f"'its {name}'"
                reason = re.sub(around.format(re.escape(word)), put, reason, flags=re.IGNORECASE)
    return _DID.sub("a DID", reason)
