"""Workers over one stream of items: bounded, ordered by nobody, and ended with nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_WORKER = 2


class Stop(threading.Event):
    """The wish that work ends: for good (`set`), or for as long as it takes to end what goes on (`halt`, `lift`).

    One wait, one look is enough for whoever works, whichever of the two it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._is_for_good = False

    def set(self) -> None:
        with self._lock:
            self._is_for_good = True
            super().set()

    def halt(self) -> None:
        super().set()

    def lift(self) -> None:
        """Take `halt` back; `set` stays."""
        with self._lock:
            if not self._is_for_good:
                self.clear()


def run_workers(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    workers: int,
    stop: threading.Event,
    finish_on: tuple[type[Exception], ...] = (),
) -> Generator[Result]:
    """Apply `work` to every item on `workers` threads; yield each result, in the caller's thread, as it is there.

    At most twice as many items as workers are taken ahead, so that a long list costs no memory, and a slow item keeps
    one worker busy and no other. If anything raises (an item's work, the caller, an interruption), `stop` is set, the
    threads are joined, and the exception goes on. A `Stop` is set only until then: what comes after a failure, such as
    another try, may use it.

    Args:
        finish_on: errors after which no item is begun any more, but those under way go on to their ends.
    """
    source = iter(items)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="blob") as pool:
        under_way: set[Future[Result]] = set()
        try:
            while True:
                for item in islice(source, workers * _WAITING_PER_WORKER - len(under_way)):
                    under_way.add(pool.submit(work, item))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=_has_failed):  # a failure ends it: hand out what succeeded first
                    yield future.result()
        except finish_on:
            try:
                pool.shutdown(wait=True, cancel_futures=True)
            except BaseException:  # an interruption of that wait
                with _halted(stop):
                    pool.shutdown(wait=True)
                raise
            raise
        except BaseException:
            with _halted(stop):
                pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _halted(stop: threading.Event) -> Iterator[None]:
    if not isinstance(stop, Stop):
        stop.set()
        yield
        return
    stop.halt()
    try:
        yield
    finally:
        stop.lift()


def _has_failed(future: Future[Result]) -> bool:
    return future.exception() is not None
