"""What becomes of a step that has failed: it is tried again in its run, put off until a host's limit
or rest ends, or given up.

This is the outermost layer of retries. Within a step, `xrpc.retry` has tried the single request again before.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from eurosky_pipeline.errors import EuroskyError, TransientError
from eurosky_pipeline.xrpc.errors import RateLimited

ATTEMPTS = 3
RATE_LIMITED_ATTEMPTS = 5
LONGEST_WAIT_S = 86_400.0
"""A host that wants a longer wait is asked again after this one, whether it has meant it."""
_SPREAD = 0.1
_LONGEST_SPREAD_S = 60.0


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The step is tried again in the same run, after `wait_s`, as its attempt number `attempt` of `attempts`."""

    wait_s: float
    attempt: int
    attempts: int


@dataclass(frozen=True, slots=True)
class ComeBack:
    """The migration waits for `wait_s`, and another run takes it up then."""

    wait_s: float


def outlook(
    error: EuroskyError, failures: int, max_wait_s: float, *, chance: Callable[[], float] = random.random
) -> TryAgain | ComeBack | None:
    """What is worth doing after so many failures of a step in one run (from 1), of which this error is the last.

    Waits are polynomial (failures⁴ + 2 s), or as long as the host says. Migrations that were put off together come
    back up to a tenth, or a minute, apart.

    Args:
        max_wait_s: the longest wait within a run.
        chance: stands in for luck (0 to 1), in tests.

    Returns: None if a person has to act.
    """
    if not isinstance(error, TransientError):
        return None
    told_s = error.retry_after_s
    if told_s is not None and told_s > max_wait_s:  # a limit, or a host that is down and says until when
        wait_s = min(told_s, LONGEST_WAIT_S)
        return ComeBack(wait_s + min(wait_s * _SPREAD, _LONGEST_SPREAD_S) * chance())
    attempts = RATE_LIMITED_ATTEMPTS if isinstance(error, RateLimited) else ATTEMPTS
    if failures >= attempts:
        return None
    wait_s = min(float(failures**4 + 2), max_wait_s) if told_s is None else told_s
    return TryAgain(wait_s, failures + 1, attempts)
