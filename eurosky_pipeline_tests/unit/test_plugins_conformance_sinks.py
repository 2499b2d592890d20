"""The conformance kit for event sinks: it finds every promise that one breaks, and lets the sound ones pass."""

import base64
import json
from contextlib import contextmanager

import pytest

from eurosky_pipeline.errors import PermanentError, TransientError
from eurosky_pipeline.events.log_sink import LOG_NAME, LogSink
from eurosky_pipeline.events.webhook import Webhook
from eurosky_pipeline.plugins.conformance import ConformanceError, check_event_sink
from eurosky_pipeline.plugins.conformance.event_sinks import sample_events
from eurosky_pipeline.plugins.event_sinks import Event, EventKind, EventSink
from eurosky_pipeline_tests.unit.webhook_receiver import webhook_receiver

RECEIVED: list[int] = []
DOWN: list[bool] = []


@pytest.fixture(autouse=True)
def _empty():
    RECEIVED.clear()
    DOWN.clear()


@contextmanager
def down():
    DOWN.append(True)
    yield
    DOWN.clear()


class Sound(EventSink):
    """Each test makes one step of it wrong."""

    name = "pager"
    version = "1"

    def deliver(self, event):
        if DOWN:
            raise TransientError("the pager is off", code="x")
        RECEIVED.append(event.id)


def deliver_that_keeps_it_back(self, event):
    self.kept = [*getattr(self, "kept", []), event.id]


def close_that_sends(self):
    RECEIVED.extend(getattr(self, "kept", []))


def deliver_that_needs_a_handle(self, event):
    RECEIVED.append(event.id)
    event.handle.lower()


def deliver_once(self, event):
    if event.id in RECEIVED:
        raise ValueError("had it")
    RECEIVED.append(event.id)


def deliver_that_notes(self, event):
    RECEIVED.append(event.id)
    event.summary["seen"] = True


def deliver_that_fails_otherwise(self, event):
    if DOWN:
        raise ConnectionError("no route")
    RECEIVED.append(event.id)


def deliver_that_gives_up(self, event):
    if DOWN:
        raise PermanentError("no route", code="x")
    RECEIVED.append(event.id)


def deliver_that_shrugs(self, event):
    if not DOWN:
        RECEIVED.append(event.id)


def deliver_that_shortens(self, event):
    RECEIVED.append(event.id % 1000)


def close_once(self):
    assert not hasattr(self, "closed")
    self.closed = True


BROKEN = [
    ({"name": "Pager"}, "the plugin offers .* whose name is 'Pager'"),
    ({"version": "v 1"}, "offers pager, whose version is 'v 1'"),
    ({"__init__": lambda self: 1 / 0}, "cannot make pager: ZeroDivisionError"),
    ({"is_configured": lambda self: False}, "is_configured gives a bool, and not True: set it up first"),
    ({"is_configured": lambda self: "yes"}, "is_configured gives 'yes', and not True"),
    ({"is_configured": lambda self: 1 / 0}, "is_configured raises ZeroDivisionError"),
    ({"deliver": lambda self, event: 1 / 0}, r"deliver\(registered\) raises ZeroDivisionError"),
    ({"deliver": lambda self, event: print(event)}, r"deliver\(registered\) prints on stdout"),
    ({"deliver": deliver_that_needs_a_handle}, r"deliver\(registered, bare\) raises AttributeError"),
    ({"deliver": deliver_once}, r"deliver\(registered\) again raises ValueError: had it"),
    ({"deliver": deliver_that_notes}, r"deliver\(registered\) changes the event"),
    ({"deliver": deliver_that_shortens}, r"comes back, and its receiver has not got the event"),
    (
        {"deliver": deliver_that_keeps_it_back, "close": close_that_sends},
        r"deliver\(registered\) comes back, and its receiver has not got the event",
    ),
    ({"deliver": deliver_that_fails_otherwise}, "deliver while its receiver is down raises ConnectionError: no route"),
    ({"deliver": deliver_that_gives_up}, "deliver while its receiver is down raises PermanentError"),
    ({"deliver": deliver_that_shrugs}, "comes back although its receiver is down: the event is lost"),
    ({"close": close_once}, "close raises AssertionError"),
]


@pytest.mark.parametrize(("wrong", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_a_broken_promise_is_found_and_told(wrong, why):
    with pytest.raises(ConformanceError, match=why):
        check_event_sink(type("Wrong", (Sound,), wrong), received=lambda: RECEIVED, down=down)


def test_a_sound_sink_passes_in_silence(capsys):
    assert check_event_sink(Sound, received=lambda: RECEIVED, down=down) is None
    assert check_event_sink(Sound) is None
    assert capsys.readouterr().out == ""


def test_what_one_instance_has_had_the_next_one_is_handed_too():
    class Forgetful(Sound):
        def deliver(self, event):
            if event.id in RECEIVED and event.id not in self.__dict__:
                raise ValueError("another one had it")
            self.__dict__[event.id] = True
            RECEIVED.append(event.id)

    with pytest.raises(ConformanceError, match=r"raises ValueError: another one had it"):
        check_event_sink(type("Wrong", (Forgetful,), {}), received=lambda: RECEIVED)


def test_a_factory_that_shares_its_instance_is_found():
    shared = Sound()
    factory = type("Factory", (), {"name": "pager", "version": "1", "__call__": lambda self: shared})()
    with pytest.raises(ConformanceError, match="the same instance twice"):
        check_event_sink(factory)


def test_the_events_of_the_kit_are_of_each_kind_whole_and_bare():
    events = sample_events()
    assert {event.kind for event in events} == set(EventKind)
    for kind in EventKind:
        whole, bare = (event for event in events if event.kind is kind)
        assert None not in (getattr(whole, name) for name in Event.__slots__)
        assert {name for name in Event.__slots__ if getattr(bare, name) is None} == {
            "did", "handle", "source_pds", "destination_pds", "state_before", "error_code", "error_text",
        }  # fmt: skip


def test_an_event_as_json_has_every_field_and_the_moment_in_utc():
    for event in sample_events():
        said = json.loads(json.dumps(event.to_json()))
        assert list(said) == list(Event.__slots__)
        assert said["happened_at"].endswith("+00:00")
        assert said["kind"] == event.kind.value


def test_the_built_in_log_keeps_its_promises(tmp_path, monkeypatch):
    monkeypatch.setenv("EUROSKY_HOME", str(tmp_path))
    log = tmp_path / LOG_NAME

    def received():
        return {json.loads(line)["id"] for line in log.read_text().splitlines()}

    @contextmanager
    def unwritable():
        kept = log.rename(tmp_path / "kept")
        log.mkdir()
        yield
        log.rmdir()
        kept.rename(log)

    check_event_sink(LogSink, received=received, down=unwritable)


def test_the_built_in_webhook_keeps_its_promises(monkeypatch):
    with webhook_receiver() as receiver:
        monkeypatch.setenv("EUROSKY_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("EUROSKY_WEBHOOK_SECRET", "whsec_" + base64.b64encode(bytes(range(32))).decode())

        @contextmanager
        def failing():
            receiver.statuses[:] = [503]
            yield
            assert receiver.statuses == []

        def received():
            return {json.loads(body)["data"]["id"] for _, body in receiver.requests}

        check_event_sink(Webhook, received=received, down=failing)
