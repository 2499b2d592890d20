"""An intake source that offers what a test wants, and one tick of the intake with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import SecretStr

from eurosky_pipeline.identity.directory import Directory
from eurosky_pipeline.intake.lookup import Lookup
from eurosky_pipeline.intake.polling import Polled, poll
from eurosky_pipeline.plugins.intake_sources import Account, IntakeContext, IntakeSource, Registered, Reply
from eurosky_pipeline.registry.registry import Registry
from eurosky_pipeline.xrpc.host_policy import HostPolicy
from eurosky_pipeline_tests.registering import did_of

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
