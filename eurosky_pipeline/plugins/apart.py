"""Foreign code on a thread of its own, call after call: one that hangs is left behind there.

Belongs here: the thread, and what may be asked from it. Does not: what is called, and for how long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from eurosky_pipeline.plugins.foreign import TooSlow, as_exception

_LOOK_EVERY_S: Final = 0.5

T = TypeVar("T")


class LeftBehindError(Exception):
    """Something is asked of a tick that is over."""


@dataclass(slots=True)
class _Said:
    """What a call has come to, or, where it has a `question`, what it wants to know first."""

    question: str = ""
    arguments: tuple[Any, ...] = ()
    value: Any = None
    error: Exception | None = None
    is_answered: threading.Event = field(default_factory=threading.Event)


class Apart:
    """One thread for the calls of one object. `end` it.

    Attributes:
        is_left: a call did not come back in time. No other is made.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._said: SimpleQueue[_Said] = SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=_serve, args=(self._calls, self._said), name="eurosky-plugin", daemon=True
        )
        self.is_left = False

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def call(self, work: Callable[[], T], limit_s: float, answers: Mapping[str, Callable[..., Any]]) -> T:
        """What this work gives, there. Its questions are answered here, and that time is not counted.

        Raises: TooSlow after so many seconds; what the work raises, as an Abrupt if it is no Exception.
        """
        if self.is_left:
            raise TooSlow("it has not come back from an earlier call")
        if self._thread.ident is None:
            self._thread.start()
        self._calls.put(work)
        until_s = time.monotonic() + limit_s
        while True:
            try:
                said = self._said.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                self.is_left = True
                self._over.set()
                raise TooSlow(f"nothing has come of it after {limit_s:.0f} s") from None
            if not said.question:
                if said.error is not None:
                    raise said.error
                result: T = said.value
                return result
            began_s = time.monotonic()
            try:
                said.value = answers[said.question](*said.arguments)
            except Exception as error:
                said.error = error
            finally:
                said.is_answered.set()
            until_s += time.monotonic() - began_s

    def asking(self, question: str) -> Callable[..., Any]:
        """A function that has the question answered by whoever waits for the call; it leads to nothing else.

        Raises: LeftBehindError where nobody waits any more; what the answer raises.
        """
        return _asking(question, self._said, self._over)

    def end(self, last: Callable[[], object] | None = None) -> None:
        """No more calls; the thread ends with the one that it is at, and this last one, if it ever comes to that."""
        self._over.set()
        if last is not None:
            self._calls.put(last)
        self._calls.put(None)


def _asking(question: str, said: SimpleQueue[_Said], over: threading.Event) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        if over.is_set():
            raise LeftBehindError("the tick is over")
        asked = _Said(question, arguments)
        said.put(asked)
        while not asked.is_answered.wait(_LOOK_EVERY_S):
            if over.is_set():
                raise LeftBehindError("the tick is over")
        if asked.error is not None:
            raise asked.error
        return asked.value

    return ask


def _serve(calls: SimpleQueue[Callable[[], Any] | None], said: SimpleQueue[_Said]) -> None:
    while (work := calls.get()) is not None:
        outcome = _Said()
        try:
            outcome.value = work()
        except BaseException as error:  # also what says that the process shall end: that is not for it to say
            outcome.error = as_exception(error)
        said.put(outcome)
