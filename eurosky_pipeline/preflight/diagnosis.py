"""What `eurosky doctor` finds, as a row; and the running of one look, which always ends in rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.preflight.bounded import OverdueError, within

LOOK_TIMEOUT_S = 20.0


class Health(StrEnum):
    """Nothing is wrong; something may be, or will be; something is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One row. `what_to_do` is for a person, and empty where all is well."""

    name: str
    verdict: Health
    found: str
    what_to_do: str = ""


Look = Callable[[threading.Event], list[Diagnosis]]
"""Look at one thing; the event is set when there is no more time for it."""


def diagnosed(name: str, look: Look, *, timeout_s: float = LOOK_TIMEOUT_S) -> list[Diagnosis]:
    """What the look finds; one that fails, or takes too long, is a finding too.

    An error that is not ours is named by its kind only: its text may hold a secret.
    """
    try:
        return within(timeout_s, look)
    except OverdueError:
        hint = "see whether a disk, a server or a name server hangs, then look again"
        return [Diagnosis(name, Health.BAD, f"no answer within {timeout_s:.0f} s", hint)]
    except EuroskyError as error:
        return [Diagnosis(name, Health.BAD, f"{error.message} [{error.code}]", error.hint)]
    except OSError as error:
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        return [Diagnosis(name, Health.BAD, f"{error.strerror or type(error).__name__}{where}", "see to its rights")]
    except Exception as error:
        return [Diagnosis(name, Health.BAD, f"could not be looked at: an unexpected {type(error).__name__}")]
