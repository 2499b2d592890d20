"""Holding a lease for as long as a step works, however long a host takes to answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from eurosky_pipeline.errors import EuroskyError
from eurosky_pipeline.registry.holds import LeaseHeldError
from eurosky_pipeline.registry.registry import Registry

LEASE_LIFETIME_S = 90.0
_RENEWALS_PER_LIFETIME = 3


@contextmanager
def hold_lease(
    registry: Registry, token: str, holder: str, stop: threading.Event, *, lifetime_s: float = LEASE_LIFETIME_S
) -> Iterator[bool]:
    """Take the lease, renew it from a thread of its own, and keep it when the block ends: the next step of the same
    run goes on with it, and `Registry.release_leases` ends it.

    `stop` is set if the lease is lost, so that whoever works can end. Yields whether the holder is a new one: this is
    its first step.

    Raises:
        LeaseHeldError: another run holds it, or took it while this one was away.
    """
    is_new = registry.acquire_lease(token, holder, lifetime_s)
    is_done = threading.Event()
    lost: list[LeaseHeldError] = []

    def renew() -> None:
        while not is_done.wait(lifetime_s / _RENEWALS_PER_LIFETIME):
            try:
                registry.acquire_lease(token, holder, lifetime_s)
            except LeaseHeldError as error:
                lost.append(error)
                stop.set()
                return
            except (EuroskyError, SQLAlchemyError):
                continue  # the next round may do better; the lease outlives two misses

    thread = threading.Thread(target=renew, name=f"lease-{token}", daemon=True)
    thread.start()
    try:
        yield is_new
    finally:
        is_done.set()
        thread.join()
    if lost:
        raise lost[0]
