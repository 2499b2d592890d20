"""The states of a migration and the ways between them.

pending_repo ──▶ pending_blobs ──▶ pending_prefs ──▶ completed
     │ ▲               │ ▲               │ ▲
     ▼ │               ▼ │               ▼ │
        failed · waiting · cancelled            (and back to where it stopped)

    pending_prefs ──▶ pending_blobs    when a newer repository has been imported
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a migration stands; the meaning of each is in the README's table of states."""

    PENDING_REPO = "pending_repo"
    PENDING_BLOBS = "pending_blobs"
    PENDING_PREFS = "pending_prefs"
    WAITING = "waiting"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


STOPPED = frozenset({State.FAILED, State.WAITING, State.CANCELLED})
"""States that remember where the migration was, and from which it goes on there."""

INACTIVE = frozenset({State.FAILED, State.CANCELLED, State.COMPLETED})
"""States in which another migration of the same DID may be registered."""

RUNNING = frozenset({State.PENDING_REPO, State.PENDING_BLOBS, State.PENDING_PREFS})
"""States in which a run can work on the migration."""

RESTART = State.PENDING_REPO
"""Where a stopped migration goes on of which nobody knows where it stopped."""

_FORWARD = {
    State.PENDING_REPO: State.PENDING_BLOBS,
    State.PENDING_BLOBS: State.PENDING_PREFS,
    State.PENDING_PREFS: State.COMPLETED,
}
_BACK = {State.PENDING_PREFS: State.PENDING_BLOBS}
"""A newer repository was imported: its blobs are under way again."""


def is_allowed(before: State, after: State) -> bool:
    """Whether a migration may go from one state to the other."""
    if before in RUNNING:
        return after in STOPPED or after is _FORWARD[before] or after is _BACK.get(before)
    return before in STOPPED and (after in RUNNING or after in {State.FAILED, State.CANCELLED}) and before != after
