"""Trying again: which errors, how often, after how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from eurosky_pipeline.errors import EuroskyError, FatalError, IntegrityError, PermanentError, StoppedError
from eurosky_pipeline.xrpc.errors import AuthError, BlobNotFound, HostUnreachable, RateLimited, ServerFault
from eurosky_pipeline.xrpc.retry import RetryPolicy, with_retries

POLICY = RetryPolicy()


class Work:
    """Fails with each of these errors in turn, and then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0

    def __call__(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(work: Callable[[], str], policy: RetryPolicy = POLICY, luck: float = 0.0) -> tuple[object, list[float]]:
    """What came of it, and the waits."""
    waits: list[float] = []

    def pause(_: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        return False

    try:
        return with_retries(work, policy, stop=threading.Event(), pause=pause, chance=lambda: luck), waits
    except Exception as error:
        return error, waits


def test_what_succeeds_is_done_once() -> None:
    work = Work()
    assert run(work) == ("done", [])
    assert work.tries == 1


@pytest.mark.parametrize("kind", [ServerFault, HostUnreachable])
def test_a_transient_error_is_tried_again_after_two_four_and_eight_seconds(kind: type[EuroskyError]) -> None:
    assert run(Work(*[kind("x")] * 3)) == ("done", [2, 4, 8])


def test_a_rate_limit_is_waited_for_four_times_as_long() -> None:
    assert run(Work(*[RateLimited("x")] * 3)) == ("done", [8, 16, 32])


def test_the_hosts_own_word_on_when_wins() -> None:
    errors = [RateLimited("x", retry_after_s=61), ServerFault("x", retry_after_s=0), ServerFault("x")]
    assert run(Work(*errors)) == ("done", [61, 0, 8])


def test_the_last_error_comes_out_when_all_tries_have_failed() -> None:
    errors = [ServerFault(str(number)) for number in range(9)]
    work = Work(*errors)
    assert run(work) == (errors[3], [2, 4, 8])
    assert work.tries == 4


@pytest.mark.parametrize(("retries", "waits"), [(0, []), (1, [2]), (5, [2, 4, 8, 16, 32])])
def test_the_policy_says_how_often(retries: int, waits: list[float]) -> None:
    errors = [ServerFault("x") for _ in range(9)]
    assert run(Work(*errors), RetryPolicy(retries)) == (errors[retries], waits)


@pytest.mark.parametrize("kind", [RateLimited, ServerFault])
def test_a_host_that_asks_for_more_patience_than_allowed_is_not_waited_for(kind: type[ServerFault]) -> None:
    patient, impatient = kind("x", retry_after_s=120), kind("x", retry_after_s=120.5)
    assert run(Work(patient, impatient)) == (impatient, [120])


def test_its_own_wait_is_not_longer_than_allowed() -> None:
    assert run(Work(*[RateLimited("x")] * 3), RetryPolicy(max_wait_s=10)) == ("done", [8, 10, 10])


@pytest.mark.parametrize(
    "error",
    [
        PermanentError("x", code="a"),
        BlobNotFound("x"),
        IntegrityError("x"),
        FatalError("x", code="a"),
        AuthError("x"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_what_will_never_work_is_not_tried_again(error: BaseException) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        with_retries(work, POLICY, stop=threading.Event(), pause=lambda _stop, _s: pytest.fail("it waited"))
    assert work.tries == 1


@pytest.mark.parametrize(("luck", "waits"), [(0.0, [2, 20]), (0.5, [2.25, 22.5]), (1.0, [2.5, 25])])
def test_threads_do_not_come_back_together_nor_before_the_host_said(luck: float, waits: list[float]) -> None:
    work = Work(ServerFault("x"), ServerFault("x", retry_after_s=20))
    assert run(work, luck=luck) == ("done", waits)


def test_waiting_ends_at_once_when_it_is_asked_to_stop() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(StoppedError):
        with_retries(Work(RateLimited("x")), POLICY, stop=stop)
    assert time.monotonic() - began_s < 6  # of 8 at least
