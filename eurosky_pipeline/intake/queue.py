"""Which migrations a tick starts: those that want to be, the oldest wish first, as many as there is room for.

However many want to, a tick looks at so many only; the next one goes on behind them, and after the last begins anew. So
what cannot start, or has been started in vain, keeps nobody else from his turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eurosky_pipeline.plugins.intake_sources import Registered
from eurosky_pipeline.registry.migration import Migration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.wishes import Wish, wish_of

MAX_LOOKED_AT: Final = 500
PLACE_KEY: Final = "@place"
"""Among the cursors; no source can have that name."""
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Answered:
    """Tokens that were asked for: a run will be; not in this tick, since there is no room or a run is under way."""

    started: frozenset[str]
    postponed: frozenset[str]


class StartQueue:
    """The starts of one tick.

    Args:
        limit: how many there may be.
        cursors: of the tick before.
        can_start: whether a run may be asked for now.

    Attributes:
        taken: what a run will be asked for.
        error: what the registry raised while a source was asking; it is not the source's fault.
    """

    def __init__(
        self, registry: Registry, limit: int, cursors: Mapping[str, str], can_start: Callable[[Migration], bool]
    ) -> None:
        self._registry, self._can_start = registry, can_start
        self._limit = max(0, limit)
        self._place = self._origin = _place(cursors.get(PLACE_KEY))
        self._looked_at = 0
        self._is_round = self._is_over = False
        self._given: dict[str, Migration] = {}
        self._judged: dict[str, bool] = {}
        self.taken: list[Migration] = []
        self.error: Exception | None = None

    @property
    def room(self) -> int:
        return self._limit - len(self.taken)

    @property
    def cursors(self) -> dict[str, str]:
        place = self._place
        return {} if place is None else {PLACE_KEY: f"{place.wanted_at.isoformat()} {place.token}"}

    def next(self, count: int) -> list[Registered]:
        """The next ones that can start, at most `count` and no more than there is room for."""
        found: list[Registered] = []
        wanted = min(count, self.room)
        try:
            while len(found) < wanted and not self._is_over and self._looked_at < MAX_LOOKED_AT:
                for migration in self._page():
                    self._looked_at += 1
                    if len(found) == wanted:
                        return found
                    if self._is_round and self._origin is not None and wish_of(migration) > self._origin:
                        self._is_over = True
                        break
                    self._place = wish_of(migration)
                    if migration.token not in self._given and self._may_start(migration):
                        self._given[migration.token] = migration
                        found.append(Registered(migration.token))
        except Exception as error:
            self.error = error
            raise
        return found

    def take(self, tokens: Sequence[str]) -> Answered:
        """Start these, if they want to be; those that do not are in neither set of the answer."""
        chosen = {migration.token for migration in self.taken}
        wanted = dict.fromkeys(tokens)
        unknown = [token for token in wanted if token not in self._given and token not in chosen]
        for start in range(0, len(unknown), _PAGE):
            for migration in self._registry.wishes(_PAGE, among=unknown[start : start + _PAGE]):
                self._given[migration.token] = migration
        postponed: set[str] = set()
        for token in wanted:
            found = self._given.get(token)
            if found is None or token in chosen:
                continue
            if self.room > 0 and self._may_start(found):
                self.taken.append(found)
                chosen.add(token)
            else:
                postponed.add(token)
        return Answered(frozenset(chosen.intersection(tokens)), frozenset(postponed))

    def _may_start(self, migration: Migration) -> bool:
        """Asked once for each: the question may cost a query."""
        if migration.token not in self._judged:
            self._judged[migration.token] = self._can_start(migration)
        return self._judged[migration.token]

    def _page(self) -> list[Migration]:
        page = self._registry.wishes(_PAGE, after=self._place)
        if not page:
            if self._is_round or self._place is None:
                self._is_over = True
            if self._origin is None:  # it began with the first: it has seen all
                self._is_over = True
            self._is_round, self._place = True, None
        return page


def _place(text: str | None) -> Wish | None:
    """Where the tick before has ended; None to begin with the oldest."""
    moment, _, token = (text or "").partition(" ")
    try:
        wanted_at = datetime.fromisoformat(moment) if token else None
    except ValueError:  # it can be edited in the UI
        return None
    return None if wanted_at is None or wanted_at.tzinfo is None else Wish(wanted_at, token)
