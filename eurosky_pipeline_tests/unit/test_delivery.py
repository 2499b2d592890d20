"""Telling the sinks: in order, at least once, one teller at a time, and nobody held up by another's faults."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from eurosky_pipeline.errors import FatalError, PermanentError, SettingsError, TransientError
from eurosky_pipeline.events import delivery
from eurosky_pipeline.events.delivery import KEPT, MAX_ATTEMPTS, Delivered, deliver, wait_s
from eurosky_pipeline.events.webhook import Webhook
from eurosky_pipeline.plugins.event_sinks import Event, EventSink
from eurosky_pipeline.plugins.manager import Loaded, Missing
from eurosky_pipeline.registry.deliveries import DeliveryOutcome, Outbox, Result, open_outbox
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings
from eurosky_pipeline_tests.canary import traces_in_text
from eurosky_pipeline_tests.conftest import Sql
from eurosky_pipeline_tests.unit.webhook_receiver import webhook_receiver

BUDGET_S = 30.0
PASSWORD = "correct horse battery staple"


class Recorder(EventSink):
    """Takes everything, unless it is told otherwise."""

    name, version = "recorder", "1"

    def __init__(self, act: Callable[[Event], None] = lambda _: None) -> None:
        self.had: list[Event] = []
        self.act = act
        self.is_closed = False

    def deliver(self, event: Event) -> None:
        self.act(event)
        self.had.append(event)

    def close(self) -> None:
        self.is_closed = True


def sink_of(name: str, act: Callable[[Event], None] = lambda _: None) -> Recorder:
    made: type[Recorder] = type("Named", (Recorder,), {"name": name})
    return made(act)


@pytest.fixture
def outbox(settings: Settings, registry: Registry) -> Iterator[Outbox]:
    with closing(open_outbox(settings)) as opened:
        yield opened


@pytest.fixture
def tell(settings: Settings, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Delivered]:
    """One round with these sinks."""

    def round_(
        *sinks: EventSink, missing: tuple[Missing, ...] = (), budget_s: float = BUDGET_S, **options
    ) -> Delivered:
        monkeypatch.setattr(delivery, "load_event_sinks", lambda _names, **_: Loaded(sinks, missing))
        return deliver(settings, outbox, budget_s, **options)

    return round_


def register(registry: Registry, count: int = 1, start: int = 0) -> list[str]:
    return [
        registry.add(
            NewMigration(f"did:web:a{number}.example", "https://old.example", "https://new.example"),
            {Side.DESTINATION: SecretStr(PASSWORD)},
        ).token
        for number in range(start, start + count)
    ]


def raising(error: BaseException) -> Callable[[Event], None]:
    def act(_event: Event) -> None:
        raise error

    return act


def make_due(sql: Sql) -> None:
    sql("UPDATE deliveries SET next_try_at = :then", then=datetime.now(UTC) - timedelta(hours=1))


def test_each_sink_has_every_event_once_in_order_and_then_it_is_gone(registry: Registry, tell, sql: Sql) -> None:
    tokens = register(registry, 3)
    registry.fail(tokens[1], FatalError("gone", code="gone", hint="look"))
    one, two = sink_of("one"), sink_of("two")
    told = tell(one, two, is_tidying=True)
    for sink in (one, two):
        assert [(event.token, event.state_after) for event in sink.had] == [
            *((token, "pending_repo") for token in tokens),
            (tokens[1], "failed"),
        ]
        assert sink.is_closed
    assert told.delivered == 8
    assert told.lines() == ["one: 4 events delivered", "two: 4 events delivered"]
    assert sql("SELECT * FROM events") == sql("SELECT * FROM deliveries") == []
    assert tell(one, two, is_tidying=True).lines() == []
    assert len(one.had) == 4


def test_only_the_service_deletes_since_others_may_not_know_of_every_sink(registry: Registry, tell) -> None:
    register(registry)
    tell(sink_of("one"))
    tell()
    two = sink_of("two")
    tell(sink_of("one"), two, is_tidying=True)
    assert len(two.had) == 1


def test_a_receiver_that_is_down_keeps_its_order_and_holds_up_nobody_else(registry: Registry, tell, sql: Sql) -> None:
    tokens = register(registry, 3)
    asked: list[str] = []

    def fail_at_the_second(event: Event) -> None:
        asked.append(event.token)
        if event.token == tokens[1]:
            raise TransientError(f"down, says {event.did}", code="down")

    down, other = sink_of("down", fail_at_the_second), sink_of("other")
    told = tell(down, other, is_tidying=True)
    assert asked == tokens[:2]
    assert len(other.had) == 3
    first, _ = told.sinks
    assert (first.delivered, first.waiting, first.reason) == (1, 2, "down, says (the account)")
    assert first.next_try_at is not None
    assert (first.next_try_at - datetime.now(UTC)).total_seconds() <= 10
    sql("UPDATE deliveries SET next_try_at = :then", then=datetime.now(UTC) + timedelta(hours=1))
    assert tell(down, other, is_tidying=True).sinks[0].waiting == 2
    assert asked == tokens[:2], "it is not asked before its time"
    make_due(sql)
    down.act = lambda event: asked.append(event.token)
    assert tell(down, other, is_tidying=True).lines() == ["down: 2 events delivered"]
    assert [event.token for event in down.had] == tokens
    assert sql("SELECT * FROM events") == []


def test_waits_grow_heed_the_receiver_and_end_after_a_day(registry: Registry, tell, sql: Sql) -> None:
    assert [wait_s(attempts) for attempts in range(1, 8)] == [10, 30, 120, 600, 1800, 3600, 3600]
    assert [wait_s(1, 77), wait_s(6, 77), wait_s(1, 1e9)] == [77, 3600, 86_400]
    assert 23 < sum(wait_s(attempts) for attempts in range(1, MAX_ATTEMPTS)) / 3600 < 25
    first, _ = register(registry, 2)
    sink = Recorder(raising(TransientError("down", code="down", retry_after_s=300)))
    tell(sink)
    ((attempts, next_try_at),) = sql("SELECT attempts, next_try_at FROM deliveries")
    assert attempts == 1
    assert tell(sink).sinks[0].waiting == 2
    sql("UPDATE deliveries SET attempts = :n", n=MAX_ATTEMPTS - 1)
    make_due(sql)
    told = tell(sink).sinks[0]
    assert [line.partition(" event ")[0] for line in told.given_up] == [f"[{first}]"]
    assert "29 tries" in told.given_up[0]
    assert told.waiting == 1
    assert told.reason == "down", "the next one is tried, and waits by itself"
    assert next_try_at is not None


def test_what_is_refused_is_given_up_and_named_and_the_next_one_is_sent(
    registry: Registry, tell, outbox: Outbox
) -> None:
    tokens = register(registry, 5)
    errors = {
        tokens[0]: PermanentError("did:web:a0.example is not wanted\n\x1b[2J", code="webhook_refused"),
        tokens[1]: ValueError("secret of a plugin's"),
        tokens[2]: SystemExit(3),
        tokens[3]: KeyboardInterrupt(),
    }

    def refuse(event: Event) -> None:
        if event.token in errors:
            raise errors[event.token]

    sink = Recorder(refuse)
    told = tell(sink, is_tidying=True)
    assert [event.token for event in sink.had] == [tokens[4]]
    assert [line.partition(": ")[2] for line in told.sinks[0].given_up] == [
        "(the account) is not wanted [2J",
        "it has raised ValueError",
        "it has raised SystemExit",
        "it has raised KeyboardInterrupt",
    ]
    standing = outbox.standing("recorder")
    assert (standing.waiting, standing.given_up_count) == (0, 4)
    assert [token for _, token, _ in standing.given_up] == tokens[3::-1], "for who looks later, the newest first"
    assert tell(sink).lines() == []


def test_a_sink_that_hangs_is_left_behind_and_tried_again(
    registry: Registry, tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry, 2)
    monkeypatch.setattr(delivery, "SINK_TIMEOUT_S", 1.5)
    never = threading.Event()
    hanging, other = sink_of("hanging", lambda _: never.wait() and None), sink_of("other")
    told = tell(hanging, other)
    never.set()
    assert len(other.had) == 2
    assert told.sinks[0].waiting == 2
    assert "has not come back" in told.sinks[0].reason


def test_a_sink_that_is_slow_has_what_the_time_allows_and_the_rest_later(registry: Registry, tell) -> None:
    tokens = register(registry, 4)
    slow, other = sink_of("slow", lambda _: time.sleep(0.2)), sink_of("other")
    told = tell(slow, other, budget_s=0.5)
    assert 1 <= len(slow.had) < 4
    assert told.sinks[0].waiting == 4 - len(slow.had)
    assert "no more time" in told.lines()[1]
    assert len(other.had) >= 1, "it has a time of its own"
    tell(slow, other)
    assert [event.token for event in slow.had] == [event.token for event in other.had] == tokens


class Unready(Recorder):
    def __init__(self, answer: bool | BaseException) -> None:
        super().__init__()
        self.answer = answer

    def is_configured(self) -> bool:
        if isinstance(self.answer, bool):
            return self.answer
        raise self.answer


def test_events_wait_for_a_sink_that_is_set_up_wrongly_and_not_for_one_that_is_not_set_up(
    registry: Registry, tell, sql: Sql
) -> None:
    register(registry)
    wrong = Unready(SettingsError("no key", code="webhook_secret", hint="make one"))
    missing = Missing("lost", "plugin_unknown", "no plugin offers the event sink lost", "install it")
    told = tell(wrong, missing=(missing,), is_tidying=True)
    assert told.lines() == [
        "lost: 1 event waiting: no plugin offers the event sink lost",
        "recorder: 1 event waiting: no key → make one",
    ]
    assert wrong.is_closed
    assert len(sql("SELECT * FROM events")) == 1
    assert tell(Unready(KeyboardInterrupt()), is_tidying=True).sinks[0].fault == "it has raised KeyboardInterrupt"
    assert tell(Unready(ValueError("no")), is_tidying=True).sinks[0].fault == "it has raised ValueError"
    assert tell(Unready(answer=False), is_tidying=True).sinks == ()
    assert sql("SELECT * FROM events") == [], "nobody wants to know"


def test_what_is_a_week_old_goes_and_is_counted_where_somebody_should_have_known(
    registry: Registry, tell, sql: Sql
) -> None:
    register(registry, 2)
    then = datetime.now(UTC) - KEPT - timedelta(minutes=1)
    sql("UPDATE events SET happened_at = :then", then=then)
    sink = Recorder()
    told = tell(sink)
    assert (told.untold, sink.had) == (2, [])
    assert told.lines() == ["2 events deleted untold, after a week"]
    register(registry, 1, start=5)
    tell(sink)
    sql("UPDATE events SET happened_at = :then", then=then)
    assert tell(sink).untold == 0
    assert sql("SELECT * FROM events") == []


def test_of_two_that_tell_at_once_each_event_comes_from_one(
    registry: Registry, settings: Settings, monkeypatch
) -> None:
    tokens = register(registry, 30)
    sink = Recorder(lambda _: time.sleep(0.005))
    monkeypatch.setattr(delivery, "load_event_sinks", lambda _names, **_: Loaded((sink,), ()))
    barrier = threading.Barrier(3)

    def run() -> None:
        with closing(open_outbox(settings)) as outbox:
            barrier.wait(30)
            for _ in range(5):
                deliver(settings, outbox, BUDGET_S)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [event.token for event in sink.had] == tokens


def test_who_dies_while_it_tells_a_sink_holds_it_for_a_minute_at_most(outbox: Outbox) -> None:
    now = datetime.now(UTC)
    until = now + timedelta(seconds=60)
    assert outbox.claim("log", "dead", now, until)
    assert outbox.claim("log", "dead", now, until), "the answer was lost: it is one's own"
    assert not outbox.claim("log", "next", now, until)
    assert outbox.claim("w" * 64, "next", now, until), "another sink"
    assert outbox.claim("log", "next", until, until + timedelta(seconds=60))
    outbox.release("log", "dead")
    assert not outbox.claim("log", "third", until, until + timedelta(seconds=60))
    outbox.release("log", "next")
    assert outbox.claim("log", "third", now, until)


def test_what_is_written_twice_counts_once_and_of_what_is_gone_nothing(
    registry: Registry, outbox: Outbox, sql: Sql
) -> None:
    register(registry)
    now = datetime.now(UTC)
    (pending,) = outbox.pending("log", now)
    waiting = Result(pending.event.id, DeliveryOutcome.WAITING, 1, now + timedelta(seconds=10), "down")
    for _ in range(2):
        assert outbox.record("log", "me", [waiting, Result(10_000, DeliveryOutcome.DELIVERED, 1)], now, now)
    assert [tuple(row) for row in sql("SELECT event_id, attempts FROM deliveries")] == [(pending.event.id, 1)]
    outbox.record("log", "me", [Result(pending.event.id, DeliveryOutcome.DELIVERED, 2)], now, now)
    outbox.record("log", "me", [waiting], now, now)
    assert sql("SELECT outcome FROM deliveries")[0][0] == "delivered"


def test_a_real_receiver_that_was_down_gets_all_in_order_and_no_credential(
    registry: Registry, tell, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = register(registry, 3)
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    with webhook_receiver() as receiver:
        monkeypatch.setenv("EUROSKY_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", secret)
        receiver.statuses, receiver.headers = [200, 503], {"Retry-After": "30"}
        told = tell(Webhook())
        assert (told.sinks[0].delivered, told.sinks[0].waiting) == (1, 2)
        assert "answers 503" in told.lines()[1]
        make_due(sql)
        receiver.statuses = [422]
        told = tell(Webhook(), is_tidying=True)
        ids = [headers["webhook-id"].rpartition("-")[0] for headers, _ in receiver.requests]
        assert ids == [tokens[0], tokens[1], tokens[1], tokens[2]]
        assert "answers 422" in told.lines()[1]
        sent = "".join(str(headers) + body.decode() for headers, body in receiver.requests)
        assert json.loads(receiver.requests[0][1])["data"]["did"] == "did:web:a0.example"
        everything = sent + str(sql("SELECT * FROM events")) + str(sql("SELECT * FROM deliveries")) + str(told)
        assert traces_in_text([PASSWORD, secret, receiver.url.partition("?")[2]], everything.replace("/in?", "")) == []
