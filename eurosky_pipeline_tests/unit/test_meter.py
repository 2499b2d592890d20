"""What a person is told of a stage: how far, how fast, how long still, and why it does not go on."""

from __future__ import annotations

import threading

import pytest

from eurosky_pipeline.cli.meter import NOTE_S, WINDOW_S, Meter

MIB = 1024 * 1024


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def go_on(meter: Meter, clock: Clock, seconds: int, blobs: int, byte_count: int) -> None:
    """So much in each of these seconds."""
    for _ in range(seconds):
        clock.now_s += 1
        meter.advance(blobs)
        meter.moved(byte_count)
        meter.read()


def test_a_rate_is_that_of_the_last_half_minute(clock: Clock) -> None:
    meter = Meter(10_000, "blobs", clock=clock)
    go_on(meter, clock, 100, 1, 10 * MIB)
    go_on(meter, clock, int(WINDOW_S), 1, 2 * MIB)
    assert meter.read().bytes_per_s == 2 * MIB


def test_a_rate_falls_to_nothing_while_nothing_moves(clock: Clock) -> None:
    meter = Meter(10_000, "blobs", clock=clock)
    go_on(meter, clock, 60, 1, MIB)
    go_on(meter, clock, int(WINDOW_S), 0, 0)
    assert meter.read().bytes_per_s == 0
    assert meter.read().left_s is None


def test_nobody_guesses_in_the_first_second(clock: Clock) -> None:
    meter = Meter(100, "blobs", clock=clock)
    meter.advance(50)
    meter.moved(MIB)
    clock.now_s += 0.9
    assert (meter.read().bytes_per_s, meter.read().left_s) == (None, None)


def test_time_left_is_that_of_the_blobs_where_their_bytes_are_not_known(clock: Clock) -> None:
    meter = Meter(1_000, "blobs", clock=clock)
    go_on(meter, clock, 30, 10, MIB)
    assert meter.read().left_s == pytest.approx(70)


def test_large_blobs_that_are_still_to_come_count_by_their_bytes(clock: Clock) -> None:
    meter = Meter(1_000, "blobs", 10_000 * MIB, clock=clock)
    go_on(meter, clock, 30, 10, MIB)
    assert meter.read().left_s == pytest.approx(9_970)


def test_bytes_that_were_sent_twice_leave_no_time_below_nothing(clock: Clock) -> None:
    meter = Meter(None, "blobs", MIB, clock=clock)
    go_on(meter, clock, 10, 1, MIB)
    assert meter.read().left_s == 0


def test_a_stage_that_counts_bytes_has_a_rate_of_its_own(clock: Clock) -> None:
    meter = Meter(100 * MIB, "B", clock=clock)
    go_on(meter, clock, 10, MIB, 0)
    reading = meter.read()
    assert (reading.bytes_per_s, reading.left_s) == (MIB, 90)
    assert reading.amount == "10.0 MiB of 100.0 MiB"
    assert reading.facts == "1.0 MiB/s, 90 s left"


def test_all_of_it_is_said_in_one_line(clock: Clock) -> None:
    meter = Meter(25_000, "blobs", clock=clock)
    go_on(meter, clock, 30, 40, MIB)
    meter.advance(3, failed=3)
    meter.note("waiting 32 s for pds.example's rate limit")
    reading = meter.read()
    assert reading.amount == "1,203 of 25,000 blobs"
    assert reading.facts == "30.0 MiB, 1.0 MiB/s, 10 min left, 3 failed; waiting 32 s for pds.example's rate limit"


def test_what_nobody_knows_is_not_said(clock: Clock) -> None:
    meter = Meter(None, "blobs", clock=clock)
    clock.now_s += 10
    assert (meter.read().amount, meter.read().facts) == ("0 blobs", "")


def test_a_note_stays_until_something_moves_again(clock: Clock) -> None:
    meter = Meter(10, "blobs", clock=clock)
    meter.moved(1)
    meter.note("waiting")
    clock.now_s += 100
    assert meter.read().note == "waiting"
    meter.moved(1)
    assert not meter.read().note


def test_a_note_can_be_read_though_much_moves(clock: Clock) -> None:
    meter = Meter(10, "blobs", clock=clock)
    meter.note("one blob is missing")
    meter.moved(1)
    clock.now_s += NOTE_S - 0.1
    assert meter.read().note == "one blob is missing"
    clock.now_s += 0.1
    assert not meter.read().note


@pytest.mark.parametrize("evil", ["\x1b[2J", "\r", "\n", "\x9b", "\u202e", "\x07"])
def test_a_servers_words_move_no_cursor(clock: Clock, evil: str) -> None:
    meter = Meter(10, "blobs", clock=clock)
    meter.note(f"the server says {evil}all is well")
    assert meter.read().note.isprintable()


def test_a_note_has_an_end(clock: Clock) -> None:
    meter = Meter(10, "blobs", clock=clock)
    meter.note("x" * 1_000_000)
    assert len(meter.read().note) == 200


def test_no_byte_is_lost_between_threads() -> None:
    meter = Meter(8_000, "blobs")

    def work() -> None:
        for _ in range(1_000):
            meter.moved(7)
            meter.advance(1, failed=1)
            meter.read()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = meter.read()
    assert (reading.done, reading.failed, reading.moved_bytes) == (8_000, 8_000, 56_000)
