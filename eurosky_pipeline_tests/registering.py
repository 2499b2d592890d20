"""Migrations to register, one or many, and what several do to one at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pydantic import SecretStr

from eurosky_pipeline.errors import ConflictError
from eurosky_pipeline.registry.intake import Offer
from eurosky_pipeline.registry.migration import Migration, NewMigration, new_token
from eurosky_pipeline.registry.registry import Registry, open_registry
from eurosky_pipeline.registry.states import State
from eurosky_pipeline.registry.vault import Side
from eurosky_pipeline.settings import Settings

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def did_of(number: int) -> str:
    return "did:plc:" + LETTERS[number // 32] + LETTERS[number % 32] * 23


def offer(number: int, password: str = "hunter2", destination: str = "https://new.example") -> Offer:
    new = NewMigration(did_of(number), "https://old.example", destination, convert_legacy_blobs=True)
    return Offer(new_token(), new, {Side.DESTINATION: SecretStr(password)})


def add(registry: Registry, did: str = DID) -> Migration:
    passwords = {Side.DESTINATION: SecretStr("hunter2")}
    return registry.add(NewMigration(did, "https://old.example", "https://new.example", handle="a.example"), passwords)


def walk(registry: Registry, token: str, *states: State) -> None:
    for state in states:
        registry.transition(token, registry.get(token).state, state)


def at_once(settings: Settings, count: int, act: Callable[[Registry, int], object]) -> list[object]:
    """What each of `count` threads got, each with a registry of its own on the same file; conflicts are results too."""
    barrier = threading.Barrier(count)

    def run(number: int) -> object:
        registry = open_registry(settings)
        try:
            barrier.wait(10)
            return act(registry, number)
        except ConflictError as error:
            return error
        finally:
            registry.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
