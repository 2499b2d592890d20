"""A source that does wrong, goes on and on, or hangs, is told of and stops nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.intake import polling, turn
from eurosky_pipeline.intake.polling import MAX_LINES
from eurosky_pipeline.intake.registered import RegisteredSource
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, Registered
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline_tests.registering import did_of
from eurosky_pipeline_tests.unit.offering import PASSWORD, Offering, Panic, account, tick


@pytest.mark.parametrize(
    "fault",
    [
        ValueError(PASSWORD),
        SystemExit(3),
        KeyboardInterrupt(),
        Panic(PASSWORD),
        SettingsError("the site is not set", hint="set it"),
        "no offer",
        Registered(None),  # type: ignore[arg-type]
        Account({}, None),  # type: ignore[arg-type]
    ],
    ids=["raises", "exits", "interrupts", "panics", "one of ours", "no offer", "no token", "no origin"],
)
def test_a_source_that_fails_is_named_and_the_others_go_on_and_what_it_gave_before_is_kept(
    embedded: Registry, fault: Any
) -> None:
    broken, well = Offering(account(1), fault, name="broken"), Offering(account(2), name="well")
    polled = tick(embedded, broken, well, cursors={"broken": "where it was"}, missing=["gone: no plugin offers it"])
    assert polled.faults[0] == "gone: no plugin offers it"
    assert len(polled.faults) == 2
    assert polled.faults[1].startswith("broken: failed: ")
    assert PASSWORD not in repr(polled)
    assert ("the site is not set → set it" in polled.faults[1]) is isinstance(fault, SettingsError)
    assert set(polled.faults) <= set(polled.told)
    assert did_of(2) in [migration.did for migration in polled.starts]
    assert (broken.closed, well.closed) == (1, 1)
    assert polled.cursors["broken"] == "where it was"


def test_a_source_that_fails_at_its_answer_or_at_its_end_is_named_too(embedded: Registry) -> None:
    class Deaf(Offering):
        def answered(self, *_: Any) -> None:
            raise KeyError(PASSWORD)

        def close(self) -> None:
            raise Panic(PASSWORD)

    polled = tick(embedded, Deaf(account(1)), Offering(account(2), name="well"))
    assert len(polled.faults) == 2
    assert PASSWORD not in repr(polled)
    assert len(list(embedded.each())) == 2


def test_a_registry_that_is_away_fails_the_tick_and_is_no_fault_of_the_source(
    embedded: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise FatalError("the database is away")

    source = Offering(account(1))
    monkeypatch.setattr(embedded, "take_in", away)
    with pytest.raises(FatalError, match="away"):
        tick(embedded, source)
    assert source.closed == 1
    monkeypatch.setattr(embedded, "wishes", away)
    with pytest.raises(FatalError, match="away"):
        tick(embedded, RegisteredSource())


def test_a_source_is_not_drawn_beyond_its_bound_nor_its_lines_told_without_end(
    embedded: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "MAX_OFFERS", 60)
    source = Offering(*(account(number, did="no did") for number in range(100)))
    polled = tick(embedded, source)
    assert polled.rejected == len(source.answers) == 60
    assert source.context is not None
    assert source.context.limit == 60
    assert len(polled.told) == MAX_LINES + 1


def test_a_source_that_goes_on_and_on_is_cut_off_and_told_of_and_the_next_tick_gets_the_rest(
    embedded: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    for module in (polling, turn):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    class Slow(Offering):
        def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
            for number in range(100):
                now_s[0] += 3.0
                yield account(number)

    class Hanging(Offering):
        def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
            now_s[0] += 40.0
            yield account(1)

    slow = Slow(name="slow")
    polled = tick(embedded, slow)
    assert 3 <= len(slow.answers) <= 5
    assert polled.faults == ()
    polled = tick(embedded, Hanging(name="hanging"), Offering(account(2), name="later"))
    assert "hanging: went on for 30 s longer than it may" in polled.faults[0]
    assert any(line.startswith("later: not polled") for line in polled.told)


def test_a_source_that_hangs_is_left_behind_named_and_not_polled_before_that_ends(
    embedded: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "SOURCE_BUDGET_S", 0.2)
    monkeypatch.setattr(turn, "LATE_S", 0.0)
    monkeypatch.setattr(turn, "_LEAST_CALL_S", 0.3)
    never, is_closed = threading.Event(), threading.Event()

    class Hanging(Offering):
        def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
            self.context = context
            never.wait(60)
            context.registered(1)
            return ()

        def close(self) -> None:
            is_closed.set()

    hanging = Hanging(name="hanging")
    polled = tick(embedded, hanging, Offering(account(1), name="well"), cursors={"hanging": "before"})
    assert polled.faults == ("hanging: failed: it hangs, and is left behind: nothing has come of it after 0 s",)
    assert (polled.added, polled.cursors["hanging"]) == (1, "before")
    again = Hanging(name="hanging")
    polled = tick(embedded, again, Offering(account(2), name="well"))
    assert polled.faults == ("hanging: still hangs since an earlier tick, and is not polled before that ends",)
    assert (polled.added, again.context) == (1, None)
    never.set()
    assert is_closed.wait(30), "it is closed when it comes back"
    polling._left["hanging"]._thread.join(30)
    assert tick(embedded, Offering(account(3), name="hanging")).faults == ()
