"""What is worth doing after a step has failed, as a table that was written down by hand."""

from __future__ import annotations

import pytest

from eurosky_pipeline.errors import EuroskyError, FatalError, PermanentError, StoppedError
from eurosky_pipeline.orchestration.outlook import ComeBack, TryAgain, outlook
from eurosky_pipeline.xrpc.errors import HostUnreachable, RateLimited, ServerFault

MAX_WAIT_S = 120.0


def after(error: EuroskyError, failures: int = 1, max_wait_s: float = MAX_WAIT_S, luck: float = 0.0) -> object:
    return outlook(error, failures, max_wait_s, chance=lambda: luck)


@pytest.mark.parametrize("error", [HostUnreachable("x"), ServerFault("x")])
def test_a_step_is_tried_three_times_with_polynomial_waits(error: EuroskyError) -> None:
    assert [after(error, failures) for failures in (1, 2, 3)] == [TryAgain(3, 2, 3), TryAgain(18, 3, 3), None]


def test_a_limited_one_five_times_and_no_wait_is_longer_than_a_run_waits() -> None:
    found = [after(RateLimited("x"), failures) for failures in (1, 2, 3, 4, 5)]
    assert found == [TryAgain(3, 2, 5), TryAgain(18, 3, 5), TryAgain(83, 4, 5), TryAgain(120, 5, 5), None]


@pytest.mark.parametrize("told_s", [0.0, 1.0, 119.5, 120.0])
def test_the_hosts_own_word_wins_where_a_run_waits_that_long(told_s: float) -> None:
    assert after(RateLimited("x", retry_after_s=told_s), 3) == TryAgain(told_s, 4, 5)


@pytest.mark.parametrize("failures", [1, 4, 5, 99])
def test_a_longer_limit_is_left_to_another_run_however_often_the_step_has_failed(failures: int) -> None:
    assert after(RateLimited("x", retry_after_s=120.1), failures) == ComeBack(120.1)


@pytest.mark.parametrize("failures", [1, 3, 99])
def test_a_host_that_is_down_and_names_a_longer_time_is_left_to_another_run(failures: int) -> None:
    assert after(ServerFault("x", retry_after_s=3600), failures) == ComeBack(3600)
    assert after(ServerFault("x", retry_after_s=120)) == TryAgain(120, 2, 3)


@pytest.mark.parametrize("told_s", [86_400.0, 86_401.0, 90 * 86_400.0, float("inf")])
def test_nobody_waits_for_longer_than_a_day(told_s: float) -> None:
    assert after(RateLimited("x", retry_after_s=told_s)) == ComeBack(86_400)


@pytest.mark.parametrize(("told_s", "latest_s"), [(200, 220), (600, 660), (3600, 3660), (10**9, 86_460)])
def test_those_that_were_put_off_together_come_back_apart(told_s: float, latest_s: float) -> None:
    error = RateLimited("x", retry_after_s=told_s)
    assert after(error, luck=1.0) == ComeBack(pytest.approx(latest_s))
    assert len({outlook(error, 1, MAX_WAIT_S) for _ in range(100)}) > 90


@pytest.mark.parametrize("error", [PermanentError("x", code="y"), FatalError("x", code="y"), StoppedError("x")])
def test_what_can_never_work_is_left_to_a_person(error: EuroskyError) -> None:
    assert after(error) is None
