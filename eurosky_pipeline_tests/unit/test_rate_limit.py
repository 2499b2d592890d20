"""What headers say of a limit: its forms on the reference PDS and in the draft, and nonsense that is none."""

import time
from email.utils import formatdate

import pytest

from eurosky_pipeline.xrpc.rate_limit import MAX_RETRY_AFTER_S, RateLimit, rate_limit_of, retry_after_s


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"limit": "100", "remaining": "7", "reset": "42"}, RateLimit(100, 7, 42)),
        ({"limit": "100, 100;w=60", "remaining": "7", "reset": "42"}, RateLimit(100, 7, 42)),
        ({"remaining": "7", "reset": "42"}, RateLimit(None, 7, 42)),
        ({"remaining": "7", "policy": "100;w=60"}, RateLimit(100, 7, 60)),
        ({"limit": "100", "remaining": "7", "policy": "10;w=1, 100;w=60"}, RateLimit(100, 7, 60)),
        ({"remaining": "0", "reset": "1000000000"}, RateLimit(None, 0, 0)),
        ({"remaining": "-3", "reset": "5"}, RateLimit(None, 0, 5)),
        ({"limit": "many", "remaining": "7", "reset": "5"}, RateLimit(None, 7, 5)),
        ({"limit": "100", "remaining": "7", "reset": "9999", "policy": "100;w=60"}, RateLimit(100, 7, 60)),
        ({"remaining": "7", "reset": "99999999"}, RateLimit(None, 7, MAX_RETRY_AFTER_S)),
    ],
)
def test_a_limit_is_read_from_the_headers(headers: dict[str, str], expected: RateLimit) -> None:
    assert rate_limit_of({f"ratelimit-{name}": value for name, value in headers.items()}) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"limit": "100", "reset": "42"},
        {"limit": "100", "remaining": "7"},
        {"remaining": "7", "reset": "soon"},
        {"remaining": "seven", "reset": "42"},
        {"remaining": "7.5", "reset": "42"},
        {"remaining": "9" * 16, "reset": "42"},
        {"remaining": "7", "reset": "nan"},
        {"remaining": "7", "policy": "10;w=1, 100;w=60"},
        {"remaining": "٧", "reset": "42"},
    ],
)
def test_what_does_not_tell_how_many_are_left_and_until_when_is_no_limit(headers: dict[str, str]) -> None:
    assert rate_limit_of({f"ratelimit-{name}": value for name, value in headers.items()}) is None


def test_a_reset_in_unix_seconds_is_read_by_the_hosts_own_clock() -> None:
    theirs = int(time.time()) - 86_400  # a clock that is a day behind
    headers = {"date": formatdate(theirs, usegmt=True), "ratelimit-remaining": "0"}
    assert rate_limit_of({**headers, "ratelimit-reset": str(theirs + 30)}) == RateLimit(None, 0, 30)
    assert retry_after_s({**headers, "retry-after": formatdate(theirs + 90, usegmt=True)}) == 90


def test_a_reset_without_the_hosts_time_is_read_by_this_machines_clock() -> None:
    found = rate_limit_of({"date": "yesterday", "ratelimit-remaining": "0", "ratelimit-reset": str(time.time() + 30)})
    assert found is not None
    assert found.reset_s == pytest.approx(30, abs=2)
