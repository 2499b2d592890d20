"""A tick of the intake: what sources offer is registered by the rules of a list, and what of it is told to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from eurosky_pipeline.intake import polling, turn
from eurosky_pipeline.intake.lookup import Found, Lookup
from eurosky_pipeline.intake.rows import Rejected
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, Registered, Reply
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline_tests.registering import did_of
from eurosky_pipeline_tests.unit.offering import PASSWORD, Offering, account, no_network, tick


def test_an_account_is_registered_with_its_password_and_wants_a_run_in_the_same_tick(registry: Registry) -> None:
    source = Offering(account(1), account(2, destination_password="of the second"))
    polled = tick(registry, source)
    assert (polled.added, polled.unchanged, polled.rejected, polled.faults) == (2, 0, 0, ())
    assert [migration.did for migration in polled.starts] == [did_of(1), did_of(2)]
    assert source.answers == [(Reply.ADDED, token, "") for token in polled.tokens]
    assert registry.password(polled.tokens[0], Side.DESTINATION) == SecretStr(PASSWORD)
    assert registry.password(polled.tokens[1], Side.DESTINATION) == SecretStr("of the second")
    assert source.closed == 1


def test_what_is_there_is_unchanged_and_what_is_elsewhere_or_twice_or_wrong_is_rejected_by_itself(
    registry: Registry,
) -> None:
    (token,) = tick(registry, Offering(account(1))).tokens
    source = Offering(
        account(1),
        account(1, destination_pds="https://third.example"),
        account(2, did="did:plc:x"),
        account(3, destination_password=None),
        account(4),
        account(4),
    )
    polled = tick(registry, source, limit=0)
    assert source.answers[0] == (Reply.UNCHANGED, token, "")
    assert source.replies[1:] == [Reply.REJECTED, Reply.REJECTED, Reply.REJECTED, Reply.ADDED, Reply.REJECTED]
    reasons = [reason for _, _, reason in source.answers]
    assert "is row 1 already" in reasons[1]
    assert "is row 4 already" in reasons[5]
    assert "destination_password is missing" in reasons[3]
    assert [token for _, token, _ in source.answers if token is None] == [None] * 4
    assert any(line.startswith("row 3: rejected, destination_password is missing") for line in polled.told)
    assert PASSWORD not in repr(polled) + repr(source.answers)


def test_the_same_account_of_two_sources_is_registered_once(registry: Registry) -> None:
    elsewhere = Offering(account(1, destination_pds="https://third.example"), name="other")
    again = Offering(account(1), name="third")
    polled = tick(registry, Offering(account(1)), elsewhere, again)
    assert (polled.added, polled.unchanged, polled.rejected) == (1, 1, 1)
    assert "already migrating to elsewhere" in elsewhere.answers[0][2]
    assert len(list(registry.each())) == 1


@pytest.mark.parametrize("column", ["destination_password_env", "source_password_env"])
def test_no_source_can_have_a_variable_of_this_machine_sent_to_a_host(
    embedded: Registry, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_DAEMON", PASSWORD)
    fields: dict[str, Any] = {column: "A_SECRET_OF_THE_DAEMON"}
    if column.startswith("destination"):
        fields["destination_password"] = None
    source = Offering(account(1, **fields))
    assert tick(embedded, source).rejected == 1
    assert source.answers[0][2].startswith(f"{column}: ")
    assert list(embedded.each()) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"passwort": PASSWORD}, "it has a field that no account has, 'passwort'"),
        ({"handle": 7}, "handle is no text"),
        ({"destination_password": SecretStr("a\0b")}, "destination_password holds a character that no text has"),
        ({"source_pds": "\ud800"}, "source_pds holds a character that no text has"),
        ({"destination_password": SecretStr("ü" * 40_000)}, "too long"),
        ({f"column_{number}": "x" for number in range(100)}, "no mapping of at most 64"),
        ({7: "x"}, "it has a field that no account has, 7"),
    ],
    ids=["unknown field", "no text", "NUL", "half a pair", "too long", "too many", "no name"],
)
def test_no_field_of_an_account_is_believed(embedded: Registry, fields: Mapping[Any, Any], told: str) -> None:
    source = Offering(Account({**account(1).fields, **fields}, "row 1"), account(2))
    assert tick(embedded, source).added == 1
    assert source.replies == [Reply.REJECTED, Reply.ADDED]
    assert told in source.answers[0][2]
    assert PASSWORD not in source.answers[0][2]


def test_nothing_that_a_source_gets_leads_to_the_registry(embedded: Registry) -> None:
    source = Offering()
    tick(embedded, source)
    assert source.context is not None
    seen: set[int] = set()
    found: list[object] = [source.context.registered, source.context.report, source.context.time_left_s]
    while found:
        it = found.pop()
        if id(it) in seen:
            continue
        seen.add(id(it))
        assert not isinstance(it, Registry | polling.Tick | turn.Turn)
        found += [cell.cell_contents for cell in getattr(it, "__closure__", None) or ()]
        found += [getattr(it, "__self__", None), *getattr(it, "__dict__", {}).values()]
    assert len(seen) > 6


def test_what_there_was_no_time_to_look_up_is_neither_answered_nor_rejected(embedded: Registry) -> None:
    def stopped() -> Lookup:
        lookup = Lookup(no_network, is_each_checked=False)
        lookup.stop = threading.Event()
        lookup.stop.set()
        return lookup

    class Moving(Offering):
        def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
            context.cursor = "after"
            return super().poll(context)

    source = Moving(account(1), account(2, did="", handle="alice.example"))
    polled = tick(embedded, source, new_lookup=stopped, cursors={"offering": "before"})
    assert source.replies == [Reply.ADDED]
    assert (polled.added, polled.rejected) == (1, 0)
    assert polled.cursors["offering"] == "before"


def test_a_cursor_is_kept_from_tick_to_tick_if_it_is_a_text_of_bounded_length(embedded: Registry) -> None:
    class Counting(Offering):
        def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
            context.cursor = self.next(context.cursor)
            return ()

        next: Callable[[str | None], Any] = staticmethod(lambda before: (before or "") + "x")

    cursors = tick(embedded, Counting()).cursors
    assert tick(embedded, Counting(), cursors=cursors).cursors == {"offering": "xx"}
    for wrong in ("x" * 4097, 7):
        source = Counting()
        source.next = lambda _, wrong=wrong: wrong  # type: ignore[method-assign, misc]
        polled = tick(embedded, source, cursors={"offering": "before"})
        assert polled.cursors == {"offering": "before"}
        assert "its cursor is no text" in polled.faults[0]


def test_what_a_tick_tells_does_not_say_whose_account_it_is_and_its_source_hears_it(embedded: Registry) -> None:
    source = Offering(
        account(1),
        account(1),
        account(2, did="did:plc:X", handle=""),
        account(3, did="", handle="alice.example"),
        account(4, did="did"),
    )

    class Refusing(Lookup):
        def look_up(self, entries: Any) -> Any:
            for entry in entries:
                if entry.did is None:
                    yield Rejected(entry.line, f"{entry.handle} is nobody, and neither is {did_of(9)}")
                else:
                    yield Found(entry, (f"{entry.did} is called otherwise",))

    polled = tick(embedded, source, new_lookup=lambda: Refusing(no_network, is_each_checked=False))
    assert [reason for *_, reason in source.answers] == [
        f"{did_of(1)} is called otherwise",
        f"{did_of(1)} is row 1 already",
        "did 'did:plc:X' is not a DID like did:plc:… or did:web:…",
        f"alice.example is nobody, and neither is {did_of(9)}",
        "did is not a DID like did:plc:… or did:web:…",
    ]
    assert [line.partition(": rejected, ")[2] for line in polled.told] == [
        "its did is row 1 already",
        "did 'its did' is not a DID like did:plc:… or did:web:…",
        "its handle is nobody, and neither is a DID",
        "did is not a DID like did:plc:… or did:web:…",
    ]
