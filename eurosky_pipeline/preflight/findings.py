"""What a check before a migration finds, as a row; and the running of one check, which always ends in exactly one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from eurosky_pipeline.errors import EuroskyError, FatalError, StoppedError
from eurosky_pipeline.preflight.bounded import OverdueError, within


class Verdict(StrEnum):
    """What a finding means for the migration: it may begin, it may but somebody should know, it would fail, or nobody
    can tell from here."""

    GO = "go"
    WARN = "warn"
    NO_GO = "no-go"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    Attributes:
        found, needed: what is there, and what the migration wants; either may be empty. An estimate says so.
        reason: why it is not plainly `go`.
        what_to_do: for a person; empty where there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    needed: str = ""
    reason: str = ""
    what_to_do: str = ""


class NotLookedAtError(Exception):
    """A check needs what an earlier one was to find out, and did not; says what."""


Check = Callable[[threading.Event], Finding]
"""Look at one thing; the event is set when there is no more time for it."""


def made(name: str, check: Check, *, timeout_s: float) -> Finding:
    """The check's finding, or the row that says why there is none: a check that cannot be made is no crash.

    What an error of ours means: fatal, a person has to act, so the migration would fail of it; anything else, that it
    cannot be told just now. Other errors are named by their kind only: their text may hold a secret.
    """
    if timeout_s <= 0:
        return Finding(name, Verdict.UNKNOWN, "", reason="not looked at: the time for all checks was over")
    try:
        return within(timeout_s, check)
    except OverdueError:
        return Finding(name, Verdict.UNKNOWN, "", reason=f"no answer within {timeout_s:.0f} s", what_to_do="try again")
    except (NotLookedAtError, StoppedError) as error:
        return Finding(name, Verdict.UNKNOWN, "", reason=f"not looked at: {error}")
    except EuroskyError as error:
        verdict = Verdict.NO_GO if isinstance(error, FatalError) else Verdict.UNKNOWN
        return Finding(name, verdict, "", reason=f"{error.message} [{error.code}]", what_to_do=error.hint)
    except Exception as error:
        return Finding(name, Verdict.UNKNOWN, "", reason=f"an unexpected {type(error).__name__}")


def size(size_bytes: float) -> str:
    """As a person reads it: 612 B, 4.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError("the last unit takes all")
