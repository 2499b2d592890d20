"""Workers over one stream of items: bounded, ordered by nobody, and ended with nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_WORKER = 2


def run_workers(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, stop: threading.Event
) -> Generator[Result]:
    """Apply `work` to every item on `workers` threads; yield each result, in the caller's thread, as it is there.

    At most twice as many items as workers are taken ahead, so that a long list costs no memory, and a slow item keeps
    one worker busy and no other. If anything raises (an item's work, the caller, an interruption), `stop` is set, the
    threads are joined, and the exception goes on.
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
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _has_failed(future: Future[Result]) -> bool:
    return future.exception() is not None
