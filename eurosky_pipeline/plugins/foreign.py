"""Other people's code, run so that it can neither hold us up for good nor write among our results.

Belongs here: how it is run, and how its words and values are shown. Does not: what it is asked.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Final, ParamSpec, TypeVar

LOAD_LIMIT_S: Final = 20.0
"""How long one plugin may take to be imported, and then to answer a hook; once in a process."""
_SHOWN_CHARACTERS: Final = 200

T = TypeVar("T")
P = ParamSpec("P")


class TooSlow(Exception):
    """It was still running when its time was up, and may run on."""


class Abrupt(Exception):
    """Something on a thread of its own has raised what is no Exception, in `error`. Nobody else raises there: neither
    a person's Ctrl-C nor a stop of the service arrives anywhere but in the main thread."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


def within(limit_s: float, work: Callable[[], T]) -> T:
    """What this work gives, or raises, in a thread of its own: whoever hangs cannot be stopped, but left behind.

    Raises: TooSlow after so many seconds; what the work raises, as an Abrupt if it is no Exception.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:  # also what says that the process shall end: that is not for it to say
            raised.append(error)

    thread = threading.Thread(target=run, name="eurosky-plugin", daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise as_exception(raised[0])
    if not given:
        raise TooSlow(f"nothing has come of it after {limit_s:g} s")
    return given[0]


def as_exception(error: BaseException) -> Exception:
    """What was raised on a thread of its own, so that it can be raised on another one."""
    return error if isinstance(error, Exception) else Abrupt(error)


def let_interruption_through(error: BaseException) -> None:
    """To be called first with whatever foreign code has raised: raises it again if it is somebody's wish to stop.

    In the main thread Ctrl-C is the person's, and Dagster ends a run by an error of its own; all else that is no
    Exception (SystemExit, what a library in Rust panics with, what cancels coroutines) is the foreign code's doing.
    """
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return
    if isinstance(error, KeyboardInterrupt) or type(error).__module__.partition(".")[0] == "dagster":
        raise error


@contextmanager
def prints_aside() -> Iterator[None]:
    """What is printed meanwhile goes to stderr: stdout belongs to the commands' results.

    Only in the main thread, where commands run: elsewhere two of these could undo each other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def handed(function: Callable[P, T]) -> Callable[P, T]:
    """The same as a plain function: of a method, or of an object that can be called, others would get the owner, too,
    and with it settings, sessions and the registry."""

    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return ask


def kind_of(error: BaseException) -> str:
    """An exception's class: all that can be told where its text may hold a secret."""
    return type(error.error if isinstance(error, Abrupt) else error).__name__


def told(error: BaseException) -> str:
    """An exception in few words, on one line, and nothing that a terminal would obey."""
    if isinstance(error, Abrupt):
        error = error.error
    try:
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    except BaseException as broken:  # it is a plugin's, and may be broken itself
        let_interruption_through(broken)
        text = ""
    return f"{type(error).__name__}: {text[:_SHOWN_CHARACTERS]}" if text else type(error).__name__


def shown(value: object) -> str:
    """Something of a plugin's in few words; its own repr may be long, or raise."""
    return repr(value[:_SHOWN_CHARACTERS]) if isinstance(value, str) else f"a {type(value).__name__}"
