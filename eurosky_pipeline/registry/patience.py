"""Going on where the database's server goes away for a moment: restarted, failed over, or full of connections.

Whatever a restart breaks off is done again from its beginning, as one call; so it must be one that may be done twice,
since nobody knows of a COMMIT whose answer was lost whether it counts. SQLite has no server, and is never waited for
here: it does its own waiting for a lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from eurosky_pipeline.errors import FatalError, TransientError

PATIENCE_S = 60.0
"""How long a server may stay away until the work gives up."""
_FORGOTTEN_S: Final = 120.0
"""After so long without any failure, the next one is of another outage."""
_PASSING_CODES: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: it starts up, or shuts down
    }
)
P = ParamSpec("P")
T = TypeVar("T")


class DatabaseAwayError(TransientError):
    """The server of the database has not come back for as long as anybody waits within a step."""

    default_code = "database_unavailable"


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed in a moment: the server is away, or two were in each other's way."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "pgcode", None)
    if code is None:  # what the driver itself says: no connection has come about, or it is gone
        return isinstance(error, OperationalError | InterfaceError)
    return code in _PASSING_CODES or str(code).startswith("08")


def _is_disk_full(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_FULL
    return getattr(error.orig, "pgcode", None) == "53100"


def said(error: DBAPIError) -> str:
    """What the database has to say, in one line, without the statement and its values."""
    return " ".join(str(error.orig).split())


class _Outage:
    """Since when this process has heard nothing of its server. Threads share it, and all see the same outage end."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._seen_s = 0.0

    def lasts_s(self) -> float:
        """A call has failed just now; how long they have been failing, one after the other."""
        now_s = time.monotonic()
        if self._since_s is None or now_s - self._seen_s > _FORGOTTEN_S:
            self._since_s = now_s
        self._seen_s = now_s
        return now_s - self._since_s

    def ends(self) -> None:
        self._since_s = None


_outage = _Outage()


def outlast(work: Callable[[], T], *, patience_s: float | None = None) -> T:
    """What `work` gives, done again from its beginning for as long as the server is away.

    The time runs from the first failure of any call: after a minute in vain, what follows from that (to tell it, to
    let go of a lease) does not wait for a minute more, each.

    Args:
        patience_s: instead of `PATIENCE_S`.
    Raises: whatever `work` raises; at the end, sqlalchemy's error that it was away.
    """
    limit_s = PATIENCE_S if patience_s is None else patience_s

    def is_enough(state: RetryCallState) -> bool:
        return max(_outage.lasts_s(), state.seconds_since_start or 0) >= limit_s

    try:
        result = work()  # nearly always; to set up the tries takes longer than many a query
    except DBAPIError as error:
        if not is_passing(error) or _outage.lasts_s() >= limit_s:
            raise
        wait = wait_exponential(multiplier=0.1, max=2) + wait_random(0, 0.2)
        result = Retrying(retry=retry_if_exception(is_passing), stop=is_enough, wait=wait, reraise=True)(work)
    _outage.ends()
    return result


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """The function, called by `outlast`.

    Raises: DatabaseAwayError where the server has been away for `PATIENCE_S`; FatalError where its disk is full.
    """

    @wraps(function)
    def outlasting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return outlast(partial(function, *args, **kwargs))
        except DBAPIError as error:
            if _is_disk_full(error):
                raise FatalError(
                    f"the registry's database cannot be written: {said(error)}",
                    code="disk_full",
                    hint="make room on its disk, then run it again; what was written before is kept",
                ) from None
            if not is_passing(error):
                raise
            raise DatabaseAwayError(
                f"the database has been away for {PATIENCE_S:.0f} s: {said(error)}",
                hint="when it is back, the migration goes on where it stopped",
            ) from None

    return outlasting
