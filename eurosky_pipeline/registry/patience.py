"""Going on where the database's server goes away for a moment: restarted, failed over, or full of connections.

Whatever a restart breaks off is done again from its beginning, as one call; so it must be one that may be done twice,
since nobody knows of a COMMIT whose answer was lost whether it counts. SQLite has no server, and is never waited for
here: it does its own waiting for a lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from eurosky_pipeline.errors import TransientError

PATIENCE_S = 60.0
"""How long a server may stay away until the work gives up."""
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


def said(error: DBAPIError) -> str:
    """What the database has to say, in one line, without the statement and its values."""
    return " ".join(str(error.orig).split())


def tries(patience_s: float | None = None) -> Iterator[AttemptManager]:
    """`for attempt in tries(): with attempt: …` until it succeeds; the last error is raised as it is.

    Args:
        patience_s: instead of `PATIENCE_S`.
    """

    def is_enough(state: RetryCallState) -> bool:
        return (state.seconds_since_start or 0) >= (PATIENCE_S if patience_s is None else patience_s)

    return iter(
        Retrying(
            retry=retry_if_exception(is_passing),
            stop=is_enough,
            wait=wait_exponential(multiplier=0.1, max=2) + wait_random(0, 0.2),
            reraise=True,
        )
    )


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """The function, called again from its beginning for as long as the server is away.

    Raises: DatabaseAwayError if that lasts longer than `PATIENCE_S`.
    """

    @wraps(function)
    def outlasting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)  # nearly always; to set up the tries takes longer than many a query
        except DBAPIError as error:
            if not is_passing(error):
                raise
        try:
            for attempt in tries():
                with attempt:
                    return function(*args, **kwargs)
        except DBAPIError as error:
            if not is_passing(error):
                raise
            raise DatabaseAwayError(
                f"the registry's database has been away for {PATIENCE_S:.0f} s: {said(error)}",
                hint="when it is back, the migration goes on where it stopped",
            ) from None
        raise AssertionError("unreachable")

    return outlasting
