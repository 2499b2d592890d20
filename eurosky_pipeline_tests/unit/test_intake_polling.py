"""A tick of the intake: what sources offer is registered by the rules of a list, what wants a run is named, and a
source that does wrong is told of and stops nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError, SettingsError
from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.intake import polling, turn
from eurosky_pipeline.intake.lookup import Found, Lookup
from eurosky_pipeline.intake.polling import MAX_LINES, Polled, poll
from eurosky_pipeline.intake.queue import MAX_LOOKED_AT
from eurosky_pipeline.intake.registered import RegisteredSource
from eurosky_pipeline.intake.rows import Rejected
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, IntakeSource, Registered, Reply
from eurosky_pipeline.registry.migration import Migration, new_token
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.postgres import settings_of
from eurosky_pipeline_tests.unit.test_registry_intake import did_of, offer

PASSWORD = "canary-5e1f"


class Panic(BaseException):
    """As libraries in Rust have it."""


class Offering(IntakeSource):
    """A source that offers these, and remembers the answers."""

    name: ClassVar[str] = "offering"
    version: ClassVar[str] = "1"

    def __init__(self, *offers: Any, name: str = "offering") -> None:
        self.offers = offers
        self.name = name  # type: ignore[misc]
        self.answers: list[tuple[Reply, str | None, str]] = []
        self.context: IntakeContext | None = None
        self.closed = 0

    def poll(self, context: IntakeContext) -> Iterable[Account | Registered]:
        self.context = context
        for given in self.offers:
            if isinstance(given, BaseException):
                raise given
            yield given

    def answered(self, offer: Account | Registered, reply: Reply, token: str | None, reason: str) -> None:
        self.answers.append((reply, token, reason))

    def close(self) -> None:
        self.closed += 1

    @property
    def replies(self) -> list[Reply]:
        return [reply for reply, *_ in self.answers]


def account(number: int, **fields: Any) -> Account:
    values = {
        "did": did_of(number),
        "source_pds": "https://old.example",
        "destination_pds": "https://new.example",
        "destination_password": SecretStr(PASSWORD),
    }
    return Account({**values, **fields}, f"row {number}")


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Registry]:
    """A registry on SQLite alone, for what no database has a part in."""
    opened = open_registry(settings_of(tmp_path, None))
    yield opened
    opened.close()


def no_network(url: str) -> Directory:
    raise AssertionError(f"{url} was asked for")


def tick(registry: Registry, *sources: IntakeSource, **arguments: Any) -> Polled:
    given: dict[str, Any] = {
        "policy": HostPolicy(),
        "new_lookup": lambda: Lookup(no_network, is_each_checked=False),
        "limit": 50,
        "cursors": {},
    }
    return poll(registry, sources, **{**given, **arguments})


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


def register(registry: Registry, count: int) -> list[str]:
    offers = [offer(number) for number in range(count)]
    registry.take_in(offers)
    return [given.token for given in offers]


def test_those_registered_are_started_oldest_wish_first_and_each_in_its_turn(registry: Registry) -> None:
    tokens = register(registry, 7)
    found: list[tuple[str, ...]] = []
    cursors: Mapping[str, str] = {}
    for _ in range(3):
        polled = tick(registry, RegisteredSource(), limit=3, cursors=cursors)
        found.append(polled.tokens)
        cursors = polled.cursors
    assert [token for tick_ in found for token in tick_] == [*tokens, *tokens[:2]]  # and then anew


def test_one_tick_starts_none_twice_however_few_there_are(registry: Registry) -> None:
    tokens = register(registry, 5)
    first = tick(registry, RegisteredSource(), limit=3)
    second = tick(registry, RegisteredSource(), limit=50, cursors=first.cursors)
    assert sorted(second.tokens) == sorted(tokens)


def test_what_cannot_start_now_keeps_nobody_from_his_turn(embedded: Registry) -> None:
    tokens = register(embedded, 6)
    busy = set(tokens[:4])
    asked: list[str] = []

    def can_start(migration: Migration) -> bool:
        asked.append(migration.token)
        return migration.token not in busy

    assert tick(embedded, RegisteredSource(), limit=2, can_start=can_start).tokens == tuple(tokens[4:])
    assert asked == tokens  # each once: it costs a query


def test_a_tick_looks_at_so_many_only_and_the_next_goes_on_behind_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = register(registry, MAX_LOOKED_AT + 20)
    polled = tick(registry, RegisteredSource(), can_start=lambda _: False)
    assert polled.tokens == ()
    polled = tick(registry, RegisteredSource(), limit=5, cursors=polled.cursors)
    assert polled.tokens == tuple(tokens[MAX_LOOKED_AT : MAX_LOOKED_AT + 5])


@pytest.mark.parametrize("cursor", ["", "x", "2026-01-01T00:00:00 EURO-X", "not a moment EURO-X", " "])
def test_a_cursor_that_somebody_has_edited_begins_anew(embedded: Registry, cursor: str) -> None:
    tokens = register(embedded, 2)
    assert tick(embedded, RegisteredSource(), cursors={"@place": cursor}).tokens == tuple(tokens)


def test_only_what_wants_to_be_started_and_nobody_works_on_is(registry: Registry, sql: Sql) -> None:
    tokens = register(registry, 6)
    held, failed, started, wished, finished, wanted = tokens
    registry.acquire_lease(held, "run-1", 60)
    sql("UPDATE migrations SET start_wanted_at = created_at WHERE token = :token", token=held)
    registry.fail(failed, FatalError("it failed"))
    registry.acquire_lease(started, "run-2", 60)
    registry.release_leases("run-2")
    sql("UPDATE migrations SET cancel_requested_at = created_at WHERE token = :token", token=wished)
    sql("UPDATE migrations SET state = :state WHERE token = :token", state=State.PENDING_PREFS, token=finished)
    assert tick(registry, RegisteredSource()).tokens == (wanted,)
    sql("UPDATE migrations SET lease_expires_at = created_at WHERE token = :token", token=held)
    assert tick(registry, RegisteredSource()).tokens == (held, wanted)


def test_a_source_may_name_what_is_registered_and_that_is_looked_at_too(registry: Registry) -> None:
    tokens = register(registry, 3)
    registry.acquire_lease(tokens[2], "run-1", 60)
    named = [Registered(token) for token in (tokens[0], tokens[2], new_token(), "../x", tokens[1])]
    source = Offering(*named)
    polled = tick(registry, source, limit=1)
    assert polled.tokens == (tokens[0],)
    assert source.replies == [Reply.STARTED, Reply.REJECTED, Reply.REJECTED, Reply.REJECTED]  # the last: no room
    assert polled.rejected == 3


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
