"""Work that may take no longer than it is given, whoever it waits for: a host, a name server, a disk that is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_TO_END_S = 1.0
"""For work that heeds its stop, after its time."""


class OverdueError(Exception):
    """The work was not done in its time."""


def within(timeout_s: float, work: Callable[[threading.Event], Result]) -> Result:
    """Do `work` on a thread of its own, and return what it returns, or raise what it raises.

    The event that it is given is set when its time is over, and when the caller is interrupted. Work that does not
    heed it is left behind, on a thread that does not keep the program from ending.

    Raises: OverdueError after `timeout_s`.
    """
    stop, is_done = threading.Event(), threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:  # it is raised again, where somebody waits for it
            errors.append(error)
        finally:
            is_done.set()

    threading.Thread(target=run, name="preflight", daemon=True).start()
    try:
        if not is_done.wait(timeout_s):
            stop.set()
            is_done.wait(_TO_END_S)
            raise OverdueError
    except BaseException:
        stop.set()
        raise
    if errors:
        raise errors[0]
    return results[0]
