"""Holding a lease for as long as a step works, however long a host takes to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from eurosky_pipeline.errors import EuroskyError, StoppedError
from eurosky_pipeline.registry.cancellation import cancelled_error
from eurosky_pipeline.registry.holds import LeaseHeldError
from eurosky_pipeline.registry.registry import Registry

LEASE_LIFETIME_S = 90.0
_RENEWALS_PER_LIFETIME = 3
CANCEL_POLL_S = 2.0
"""How often whoever works looks whether somebody wants it to end."""


@contextmanager
def hold_lease(
    registry: Registry,
    token: str,
    holder: str,
    stop: threading.Event,
    *,
    lifetime_s: float = LEASE_LIFETIME_S,
    poll_s: float = CANCEL_POLL_S,
    attempt: int | None = None,
) -> Iterator[bool]:
    """Take the lease, renew it from a thread of its own, and keep it when the block ends: the next step of the same
    run goes on with it, and `Registry.release_leases` ends it.

    `stop` is set if the lease is lost or the migration is to be cancelled, so that whoever works can end; until it has,
    the lease is renewed. Yields whether the holder is a new one: this is its first step.

    Args:
        attempt: the number of the attempt that this run was asked for; None for one that makes whichever comes next.

    Raises:
        LeaseHeldError: another run holds it, or took it while this one was away; AttemptBegunError of these is that it
            has made the attempt already.
        MigrationCancelled: the work was stopped since a person has given the migration up.
    """
    is_new = registry.acquire_lease(token, holder, lifetime_s, attempt=attempt)
    is_done = threading.Event()
    is_cancelled = threading.Event()
    lost: list[LeaseHeldError] = []

    def renew() -> None:
        interval_s = lifetime_s / _RENEWALS_PER_LIFETIME
        renew_at_s = time.monotonic() + interval_s
        while not is_done.wait(max(0.0, min(poll_s, renew_at_s - time.monotonic()))):
            try:
                if time.monotonic() >= renew_at_s:
                    renew_at_s = time.monotonic() + interval_s
                    registry.acquire_lease(token, holder, lifetime_s)
                if not is_cancelled.is_set() and registry.is_cancel_wanted(token):
                    is_cancelled.set()
                    stop.set()
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
    except StoppedError:
        if is_cancelled.is_set():
            raise cancelled_error(token) from None
        raise
    finally:
        is_done.set()
        thread.join()
    if lost:
        raise lost[0]
