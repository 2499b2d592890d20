"""No hook gets credentials: what transforms, sources and sinks are handed, looked through for a canary and for owners.

What they are handed is gone through attribute by attribute, whatever its name; functions are called. What lies in the
closures of functions is not looked at: plugins run in this process, and nothing in it can be hidden from them.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from pydantic import SecretStr

from eurosky_pipeline.convert.convert_repo import SourceSizes, convert_repo
from eurosky_pipeline.errors import FatalError
from eurosky_pipeline.events.delivery import deliver
from eurosky_pipeline.intake.lookup import Lookup
from eurosky_pipeline.intake.polling import poll
from eurosky_pipeline.plugins import manager
from eurosky_pipeline.plugins.discovery import Origin
from eurosky_pipeline.plugins.event_sinks import Event, EventKind, EventSink
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, IntakeSource, Registered
from eurosky_pipeline.plugins.kinds import EVENT_SINKS, RECORD_TRANSFORMS, Kind
from eurosky_pipeline.plugins.offers import Offer, Plugins
from eurosky_pipeline.plugins.record_transforms import RecordTransform, TransformContext, UnknownSize
from eurosky_pipeline.registry.deliveries import open_outbox
from eurosky_pipeline.registry.migration import NewMigration
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.builders import DID, make_legacy_blob_ref, make_post, make_repo_car
from eurosky_pipeline_tests.canary import traces_in_text
from eurosky_pipeline_tests.fake_pds import FakePds

CANARY = "canary-8151-of-everything"
OWNERS = ("eurosky_pipeline.registry", "eurosky_pipeline.settings", "eurosky_pipeline.xrpc", "sqlalchemy", "httpx")
HANDED: list[object] = []
"""What the plugins here have been given."""


class Curious(RecordTransform):
    name, version = "curious", "1"

    def prepare(self, context: TransformContext) -> None:
        HANDED.extend([context, context.blob_sizes([]), context.report("looked")])

    def transform(self, uri: str, record: dict[str, Any]) -> dict[str, Any]:
        HANDED.extend([uri, record])
        return record


class CuriousSource(IntakeSource):
    name, version = "curious_source", "1"

    def poll(self, context: IntakeContext) -> Iterator[Account | Registered]:
        waiting = context.registered(10)
        HANDED.extend([context, waiting, context.time_left_s(), context.report("looked")])
        yield from waiting
        rejected = {"did": "did:plc:none", "destination_password": SecretStr(CANARY)}
        yield Account(rejected, "the second")

    def answered(self, offer: Account | Registered, *answer: object) -> None:
        HANDED.extend([repr(offer), *answer])  # the offer is its own


class CuriousSink(EventSink):
    name, version = "curious_sink", "1"

    def deliver(self, event: Event) -> None:
        HANDED.extend([event, event.to_json()])


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "EUROSKY_HOME": str(tmp_path / "home"),
        "EUROSKY_WEBHOOK_SECRET": CANARY,
        "EUROSKY_WEBHOOK_URL": f"https://hooks.example/{CANARY}",
        "EUROSKY_RATE_LIMIT_BYPASS": f"old.example={CANARY}",
        "EUROSKY_EVENT_SINKS": "curious_sink",
        "DESTINATION_PASSWORD": CANARY,
    }.items():
        monkeypatch.setenv(name, value)
    HANDED.clear()
    return load_settings()


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    opened = open_registry(settings)
    for number in range(2):
        opened.add(
            NewMigration(
                f"did:web:a{number}.example", "https://old.example", "https://new.example", handle="a.example"
            ),
            {Side.DESTINATION: SecretStr(CANARY), Side.SOURCE: SecretStr(CANARY)},
        )
    yield opened
    opened.close()


def parts(value: object, seen: set[int]) -> Iterator[object]:
    """The value and all that is in it, or is an attribute of it."""
    if id(value) in seen or isinstance(value, type | ModuleType | BuiltinFunctionType):
        return
    seen.add(id(value))
    yield value
    inner: list[object] = []
    if isinstance(value, Mapping):
        inner += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner += value
    elif isinstance(value, MethodType):
        inner += [value.__self__, value.__func__]
    elif isinstance(value, FunctionType):
        inner += [value.__defaults__, value.__kwdefaults__, vars(value)]
    elif not isinstance(value, str | bytes | int | float | Enum):
        slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
        inner += [getattr(value, name, None) for name in slots] + [getattr(value, "__dict__", None)]
    for each in inner:
        yield from parts(each, seen)


def check(at_least: int) -> None:
    """Everything that was handed out: no owner of secrets in it, and the canary in none of its spellings."""
    assert len(HANDED) >= at_least
    found = [part for value in HANDED for part in parts(value, set())]
    owners = [part for part in found if type(part).__module__.startswith(OWNERS) and not isinstance(part, Enum)]
    assert owners == []
    assert not any(isinstance(part, PurePath | SecretStr) for part in found)
    texts = [part.decode("latin-1") if isinstance(part, bytes) else repr(part) for part in found]
    for value in HANDED:
        with suppress(Exception):  # what holds functions cannot be pickled
            texts.append(pickle.dumps(value).decode("latin-1"))
    assert traces_in_text([CANARY], "\n".join(texts)) == []


def offered(kind: Kind[Any], factory: Any) -> Plugins:
    return Plugins((Offer(kind, factory.name, factory.version, Origin("x", "x", "1"), factory),), ())


def test_a_source_gets_none_with_a_registry_full_of_passwords(registry: Registry, settings: Settings) -> None:
    polled = poll(
        registry,
        [CuriousSource()],
        policy=HostPolicy(False, frozenset()),
        new_lookup=lambda: Lookup(lambda url: pytest.fail("asked the network"), is_each_checked=False),
        limit=10,
        cursors={},
    )
    assert (len(polled.starts), polled.rejected) == (2, 1)
    assert {"started", "rejected"} <= {str(value) for value in HANDED if isinstance(value, str)}
    check(at_least=13)


def test_a_sink_gets_none_of_any_kind_of_event(registry: Registry, settings: Settings) -> None:
    token = registry.find()[0].token
    assert registry.acquire_lease(token, "run-1", 60)
    registry.fail(token, FatalError("the host said no", code="x", hint="ask it"), holder="run-1")
    registry.release_leases("run-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "installed_plugins", lambda: offered(EVENT_SINKS, CuriousSink))
        outbox = open_outbox(settings)
        try:
            told = deliver(settings, outbox, 30.0)
        finally:
            outbox.close()
    assert told.delivered == 4
    assert {value.kind for value in HANDED if isinstance(value, Event)} == set(EventKind)
    check(at_least=8)


def test_a_transform_gets_none_with_the_sources_client_at_work(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "installed_plugins", lambda: offered(RECORD_TRANSFORMS, Curious))
    exported = tmp_path / "account.car"
    exported.write_bytes(
        make_repo_car({"app.bsky.feed.post/3jzfcijpj2z2a": make_post(image=make_legacy_blob_ref(b"picture"))})
    )
    source = FakePds("old.example")
    convert_repo(
        exported,
        tmp_path / "converted.car",
        ["curious"],
        unknown_size=UnknownSize.KEEP,
        sizes=SourceSizes(lambda: source.client, DID, settings, threading.Event()),
        report=lambda _: None,
    )
    check(at_least=5)


def test_the_search_finds_what_an_attribute_of_a_method_or_an_object_leads_to(settings: Settings) -> None:
    for leak in (SourceSizes(lambda: None, DID, settings, threading.Event()), settings.bypass_key, {"x": [CANARY]}):
        HANDED[:] = [leak]
        with pytest.raises(AssertionError):
            check(at_least=1)
