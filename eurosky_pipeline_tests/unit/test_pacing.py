"""The pace of a host: slower before it refuses, one refusal for all, and never longer than was allowed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from eurosky_pipeline.errors import StoppedError
from eurosky_pipeline.xrpc.errors import RateLimited
from eurosky_pipeline.xrpc.pacing import ALONE_S, FIRST_HOLD_S, GRACE_S, HostPace

NSID = "com.atproto.sync.getBlob"
STOP = threading.Event()


class FakeTime:
    """A clock that goes on only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def pause(self, stop: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now_s += seconds
        return stop.is_set()


def limit(most: int, remaining: int, reset_s: float) -> dict[str, str]:
    return {
        "ratelimit-limit": str(most),
        "ratelimit-remaining": str(remaining),
        "ratelimit-reset": str(reset_s),
    }


def paced(fake: FakeTime, max_wait_s: float = 120) -> HostPace:
    return HostPace("pds.example", max_wait_s=max_wait_s, clock=fake.clock, pause=fake.pause)


def paced_until(fake: FakeTime, *, pauses: int, then: Callable[[], object]) -> HostPace:
    """A pace at whose so manieth pause something else happens."""

    def pause(stop: threading.Event, seconds: float) -> bool:
        if len(fake.pauses) == pauses - 1:
            then()
        return fake.pause(stop, seconds)

    return HostPace("pds.example", max_wait_s=120, clock=fake.clock, pause=pause)


def ask(pace: HostPace, status: int = 200, headers: dict[str, str] | None = None, nsid: str = NSID) -> None:
    with pace.turn(nsid, STOP) as turn:
        turn.heed(status, headers or {})


def test_a_host_that_tells_no_limit_is_asked_at_full_speed() -> None:
    pace = paced(fake := FakeTime())
    for _ in range(100):
        ask(pace)
    assert fake.pauses == []


def test_a_host_with_many_left_is_asked_at_full_speed() -> None:
    pace = paced(fake := FakeTime())
    for remaining in range(3000, 301, -1):
        ask(pace, headers=limit(3000, remaining, 240))
    assert fake.pauses == []


def test_what_little_is_left_is_spread_over_the_time_to_the_reset() -> None:
    pace = paced(fake := FakeTime())
    began_s = fake.now_s
    for remaining in range(10, 0, -1):
        ask(pace, headers=limit(100, remaining, 20 - (fake.now_s - began_s)))
    assert len(fake.pauses) == 8  # the first had nothing to go by, and the next nothing to keep a distance from
    assert all(2 <= pause < 3 for pause in fake.pauses)
    assert fake.now_s - began_s < 20


def test_when_nothing_is_left_nobody_asks_until_the_reset() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, headers=limit(100, 0, 60))
    ask(pace)
    assert fake.pauses == [60 + GRACE_S]
    ask(pace)
    assert len(fake.pauses) == 1, "the window is a new one"


def test_a_limit_that_lasts_longer_than_allowed_is_not_waited_for_but_told() -> None:
    pace = paced(fake := FakeTime(), max_wait_s=120)
    ask(pace, headers=limit(1000, 0, 86_390))
    with pytest.raises(RateLimited, match=r"pds\.example allows no more of .*getBlob for 86391 s") as caught:
        ask(pace)
    assert caught.value.retry_after_s == 86_390 + GRACE_S
    assert "EUROSKY_MAX_WAIT_S" in caught.value.hint
    assert fake.pauses == []


def test_what_is_left_of_a_days_limit_is_used_up_and_not_crept_through() -> None:
    pace = paced(fake := FakeTime())
    for remaining in range(100, -1, -1):
        ask(pace, headers=limit(1000, remaining, 80_000))
    assert fake.pauses == []
    with pytest.raises(RateLimited):
        ask(pace)


def test_a_pace_that_may_not_wait_at_all_does_not_spread_either() -> None:
    pace = paced(fake := FakeTime(), max_wait_s=0)
    for remaining in range(10, 0, -1):
        ask(pace, headers=limit(100, remaining, 20))
    assert fake.pauses == []


def test_a_refusal_holds_back_the_next_for_as_long_as_the_host_says() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, 429, {"retry-after": "30", **limit(100, 50, 5)})
    ask(pace)
    assert fake.pauses == [30 + GRACE_S]


def test_refusals_that_do_not_say_for_how_long_hold_back_for_longer_and_longer_until_it_is_too_long() -> None:
    pace = paced(fake := FakeTime(), max_wait_s=60)
    for _ in range(4):
        ask(pace, 429)
    assert fake.pauses == [FIRST_HOLD_S, 2 * FIRST_HOLD_S, 4 * FIRST_HOLD_S]
    with pytest.raises(RateLimited):
        ask(pace)


def test_an_answer_after_a_refusal_makes_the_next_one_count_from_the_first_again() -> None:
    pace = paced(fake := FakeTime())
    for status in (429, 429, 200, 429, 200):
        ask(pace, status)
    assert fake.pauses == [FIRST_HOLD_S, 2 * FIRST_HOLD_S, FIRST_HOLD_S]


def test_refusals_of_what_was_under_way_together_are_one_refusal() -> None:
    pace = paced(fake := FakeTime())
    with pace.turn(NSID, STOP) as a, pace.turn(NSID, STOP) as b, pace.turn(NSID, STOP) as c:
        for turn in (a, b, c):
            turn.heed(429, {})
    ask(pace)
    assert fake.pauses == [FIRST_HOLD_S]


def test_a_success_that_was_under_way_does_not_lift_the_hold() -> None:
    pace = paced(fake := FakeTime())
    with pace.turn(NSID, STOP) as a, pace.turn(NSID, STOP) as b:
        a.heed(429, {})
        b.heed(200, {})
    ask(pace, 429)
    ask(pace)
    assert fake.pauses == [FIRST_HOLD_S, 2 * FIRST_HOLD_S]


def test_no_more_are_under_way_than_are_left() -> None:
    """Three under way and two left, as the first answer tells: the next waits for another answer, and for no limit."""
    fake, exits = FakeTime(), contextlib.ExitStack()
    pace = paced_until(fake, pauses=3, then=exits.close)
    a = exits.enter_context(pace.turn(NSID, STOP))
    b, c = (exits.enter_context(pace.turn(NSID, STOP)) for _ in range(2))
    a.heed(200, limit(1000, 2, 80_000))
    ask(pace)
    assert len(fake.pauses) == 3
    assert sum(fake.pauses) < 1
    assert b is not c


def test_what_was_answered_out_of_order_does_not_make_more_of_what_is_left() -> None:
    pace = paced(fake := FakeTime())
    with pace.turn(NSID, STOP) as a, pace.turn(NSID, STOP) as b, pace.turn(NSID, STOP) as c:
        c.heed(200, limit(1000, 0, 80_000))
        b.heed(200, limit(1000, 1, 80_000))
        a.heed(200, limit(1000, 2, 80_001))
    with pytest.raises(RateLimited):
        ask(pace)
    assert fake.pauses == []


def test_a_new_window_begins_with_what_its_first_answer_tells() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, headers=limit(100, 0, 20))
    ask(pace, headers=limit(100, 99, 20))
    for _ in range(50):
        ask(pace)
    assert fake.pauses == [20 + GRACE_S]


def test_a_window_that_moves_on_with_every_answer_is_a_new_one_each_time() -> None:
    pace = paced(fake := FakeTime(), max_wait_s=60)
    for remaining in (0, 5, 4):
        ask(pace, headers=limit(10, remaining, 50))
        fake.now_s += 10
    ask(pace)
    assert fake.pauses == [41]


def test_a_request_that_finds_out_for_all_has_some_time_for_it_and_not_for_ever() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, 429, {"retry-after": "1"})
    with pace.turn(NSID, STOP):  # an upload of a gigabyte, say
        fake.pauses.clear()
        ask(pace)
    assert ALONE_S - 0.01 < sum(fake.pauses) < ALONE_S + 1


def test_of_two_refusals_the_longer_one_holds() -> None:
    pace = paced(fake := FakeTime())
    with pace.turn(NSID, STOP) as a, pace.turn(NSID, STOP) as b:
        a.heed(429, {"retry-after": "60"})
        b.heed(429, {"retry-after": "2"})
    ask(pace)
    assert fake.pauses == [60 + GRACE_S]


def test_who_waits_for_another_to_find_out_waits_for_no_limit() -> None:
    fake, exits = FakeTime(), contextlib.ExitStack()

    def pause(stop: threading.Event, seconds: float) -> bool:
        exits.close()  # the other one's turn ends meanwhile
        return fake.pause(stop, seconds)

    pace = HostPace("pds.example", max_wait_s=0, clock=fake.clock, pause=pause)
    ask(pace, 429, {"retry-after": "0"})
    fake.now_s += GRACE_S
    exits.enter_context(pace.turn(NSID, STOP))
    ask(pace)
    assert len(fake.pauses) == 1


def test_a_request_that_got_no_answer_is_over_too() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, 429, {"retry-after": "1"})
    with pytest.raises(ValueError, match="cut"), pace.turn(NSID, STOP):
        raise ValueError("cut")
    with pace.turn(NSID, STOP):
        pass
    assert fake.pauses == [1 + GRACE_S]


def test_each_endpoint_has_its_own_limit() -> None:
    pace = paced(fake := FakeTime())
    ask(pace, 429, limit(1000, 0, 86_390), nsid="com.atproto.repo.uploadBlob")
    ask(pace)
    assert fake.pauses == []


def test_waiting_ends_at_once_when_it_is_asked_to_stop() -> None:
    pace, stop = HostPace("pds.example", max_wait_s=120), threading.Event()
    with pace.turn(NSID, stop) as turn:
        turn.heed(429, {"retry-after": "60"})
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(StoppedError), pace.turn(NSID, stop):
        pytest.fail("nobody was to be asked")
    assert time.monotonic() - began_s < 30


def test_who_is_asked_to_stop_gets_no_turn() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError), paced(FakeTime()).turn(NSID, stop):
        pytest.fail("nobody was to be asked")


def told(fake: FakeTime, pace: HostPace) -> list[str]:
    """What a person is told while this is the next to ask."""
    notes: list[str] = []
    with pace.turn(NSID, STOP, notes.append) as turn:
        turn.heed(200, {})
    return notes


def test_a_wait_for_a_hosts_limit_is_told_before_it() -> None:
    fake = FakeTime()
    pace = paced(fake)
    ask(pace, 429, {"retry-after": "31"})
    assert told(fake, pace) == ["waiting 32 s for pds.example's rate limit"]


def test_a_limit_that_is_used_up_is_told_before_the_host_refuses() -> None:
    fake = FakeTime()
    pace = paced(fake)
    ask(pace, 200, limit(1000, 0, 60))
    assert told(fake, pace) == ["waiting 61 s for pds.example's rate limit"]


def test_nobody_is_told_of_a_pace_that_is_just_slower() -> None:
    fake = FakeTime()
    pace = paced(fake)
    ask(pace, 200, limit(1000, 30, 60))
    ask(pace, 200, limit(1000, 29, 60))
    assert not told(fake, pace)
    assert fake.pauses


def told_of_refusals(pace: HostPace, count: int, headers: dict[str, str]) -> list[str]:
    """What a person is told when so many requests that were under way are refused."""
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        for turn in [stack.enter_context(pace.turn(NSID, STOP, notes.append)) for _ in range(count)]:
            turn.heed(429, headers)
    return notes


def test_five_refusals_are_told_once() -> None:
    assert told_of_refusals(paced(FakeTime()), 5, {"retry-after": "31"}) == [
        "waiting 32 s for pds.example's rate limit"
    ]


def test_a_refusal_that_nobody_waits_for_is_no_wait() -> None:
    assert not told_of_refusals(paced(FakeTime(), max_wait_s=30), 1, {"retry-after": "86400"})
