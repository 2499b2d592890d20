"""Trying again: how often, after how long, and for which errors. The one layer that does it.

What is tried again must be safe to do twice. The error's place in the tree decides: transient ones are tried again,
permanent and fatal ones never.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from eurosky_pipeline.errors import StoppedError, TransientError
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline.xrpc.pacing import FIRST_HOLD_S, Pause

Result = TypeVar("Result")

_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Args:
        retries: how often, after the first try.
        max_wait_s: the longest wait; a host that asks for a longer one is not waited for.
        first_wait_s, first_rate_limited_wait_s: before the first retry, doubled before each further one, where the
            host does not say when to come again.
    """

    retries: int = 3
    max_wait_s: float = 120.0
    first_wait_s: float = 2.0
    first_rate_limited_wait_s: float = FIRST_HOLD_S

    def wait_s(self, error: TransientError, failures: int) -> float:
        """Seconds before the next try, after so many failures (from 1) of which this error is the last."""
        if error.retry_after_s is not None:
            return error.retry_after_s
        first_s = self.first_rate_limited_wait_s if isinstance(error, RateLimited) else self.first_wait_s
        return min(first_s * 2.0 ** (failures - 1), self.max_wait_s)


def with_retries(
    work: Callable[[], Result],
    policy: RetryPolicy,
    *,
    stop: threading.Event,
    pause: Pause = threading.Event.wait,
    chance: Callable[[], float] = random.random,
) -> Result:
    """What `work` returns, at the first try that succeeds.

    Every wait is up to a quarter longer than the policy has it, so that threads that failed together do not come back
    together; never shorter, since a host may have named it.

    Args:
        pause, chance: stand in for time and luck (0 to 1), in tests.

    Raises:
        TransientError: the last one, when all tries have failed, or when the host asks for more patience than
            `max_wait_s`; `retry_after_s` then says when to come again.
        StoppedError: `stop` was set while this waited.
        Whatever else `work` raises, at once.
    """

    def wait_s(state: RetryCallState) -> float:
        return policy.wait_s(_error(state), state.attempt_number) * (1 + _JITTER * chance())

    def is_over(state: RetryCallState) -> bool:
        is_too_long = policy.wait_s(_error(state), state.attempt_number) > policy.max_wait_s
        return state.attempt_number > policy.retries or is_too_long

    def sleep(seconds: float) -> None:
        if pause(stop, seconds):
            raise StoppedError("asked to stop while it waited to try again")

    retrying = Retrying(
        retry=retry_if_exception_type(TransientError), wait=wait_s, stop=is_over, sleep=sleep, reraise=True
    )
    return retrying(work)


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # noqa: S101  (for the type checker: nothing else is tried again)
    return error
