"""`eurosky migrations cancel`: giving migrations up, those that a run works on too."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from eurosky_pipeline.cli.migrations_rows import Done, print_done
from eurosky_pipeline.cli.output import json_option, moment, tell
from eurosky_pipeline.errors import ConflictError, EuroskyError

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration
    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.settings import Settings

LOOK_S: Final = 0.5
TELL_S: Final = 10.0
PATIENCE_S: Final = 120.0
"""A run that lives notices within seconds, and a dead one loses its hold within this time."""


@click.command()
@click.argument("tokens", nargs=-1, required=True, metavar="TOKEN…")
@click.option("--no-wait", is_flag=True, help="Ask only; do not wait until a run that works on it has stopped.")
@click.option("--finished", "is_finished_too", is_flag=True, help="Give up a finished one (pending_prefs) too.")
@json_option
def cancel(tokens: tuple[str, ...], *, no_wait: bool, is_finished_too: bool, is_json: bool) -> None:
    """Give migrations up: others of the same accounts may then be registered.

    Stored passwords are deleted at once. A run that works on a migration is asked to stop, which takes a few seconds; a
    run that has died keeps its hold for 90 seconds at most, and is waited for. Runs in Dagster's queue are taken out.
    Nothing is undone: what has arrived at the destination stays there. With --finished, one that is finished makes room
    for another migration of its account.

    `eurosky migrations retry TOKEN --destination-password-env VAR` takes one up again where it stopped.

    \b
    Exit code: 0 cancelled, or asked to with --no-wait · 1 at least one is not
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    asked = list(dict.fromkeys(tokens))
    done = {
        token: _attempted(token, lambda token: registry.request_cancel(token, is_finished_too=is_finished_too))
        for token in asked
    }
    _empty_queue(settings, [token for token in asked if done[token].error is None])
    if not no_wait:
        pending = [token for token in asked if done[token].is_under_way]
        done |= wait_until_cancelled(registry, pending)
    registry.close()
    print_done([done[token] for token in asked], _told, is_json=is_json)
    sys.exit(1 if any(each.error for each in done.values()) else 0)


def wait_until_cancelled(
    registry: Registry,
    tokens: list[str],
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Done]:
    """What has become of each that a run was asked to stop working on.

    A dead run's is cancelled as soon as its hold has ended. An interruption leaves the wishes, and says so.
    """
    done: dict[str, Done] = {}
    began_s = told_s = clock()
    for token in tokens:
        tell(f"{token}: {_waited_for(registry.get(token))}")
    try:
        while len(done) < len(tokens) and clock() - began_s < patience_s:
            sleep(LOOK_S)
            is_telling = clock() - told_s >= TELL_S
            for token in tokens:
                if token in done:
                    continue
                found = _attempted(token, lambda token: _settled(registry, token))
                if not found.is_under_way:
                    done[token] = found
                elif is_telling:
                    tell(f"{token}: {_waited_for(registry.get(token))}")
            told_s = clock() if is_telling else told_s
    except KeyboardInterrupt:
        left = [token for token in tokens if token not in done]
        tell(f"no longer waited for; the wish to cancel stays: {', '.join(left)}")
        raise
    return done | {
        token: _attempted(token, lambda token: _given_up_waiting(registry, token))
        for token in tokens
        if token not in done
    }


def _settled(registry: Registry, token: str) -> Migration:
    """The row; cancelled if the run that was waited for lets go, or has died."""
    from datetime import UTC, datetime

    from eurosky_pipeline.registry.cancellation import is_held
    from eurosky_pipeline.registry.states import State

    migration = registry.get(token)
    if migration.state is State.CANCELLED:
        return migration
    if migration.cancel_requested_at is None:
        raise ConflictError(
            f"{token} was taken up again by somebody, and is {migration.state}",
            code="state_conflict",
            hint="look at it, cancel it again",
        )
    return migration if is_held(migration, datetime.now(UTC)) else registry.request_cancel(token, is_finished_too=True)


def _given_up_waiting(registry: Registry, token: str) -> Migration:
    migration = _settled(registry, token)
    if migration.cancel_requested_at is None:
        return migration
    raise ConflictError(
        f"run {migration.lease_holder} was asked to stop working on {token}, and has not yet",
        code="cancel_pending",
        hint="the wish stays, and the run heeds it at its next step; stop it in the Dagster UI, or its process",
    )


def _attempted(token: str, act: Callable[[str], Migration]) -> Done:
    try:
        migration = act(token)
    except EuroskyError as error:
        return Done(token, "", error=error)
    return Done(token, str(migration.state), cancel_requested_at=moment(migration.cancel_requested_at))


def _waited_for(migration: Migration) -> str:
    until = migration.lease_expires_at
    hold = f", or until {until:%H:%M:%S} UTC if that run has died" if until else ""
    return f"waiting until run {migration.lease_holder} has stopped{hold}"


def _told(done: Done) -> str:
    if done.is_under_way:
        return f"{done.token} is {done.state}; the run that works on it has been asked to stop"
    return f"{done.token} is cancelled"


def _empty_queue(settings: Settings, tokens: list[str]) -> None:
    """Where there is a Dagster instance. That it cannot be asked changes nothing: a run from the queue would find its
    migration cancelled."""
    if not tokens or not (settings.resolved_dagster_home / "dagster.yaml").exists():
        return
    from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
    from eurosky_pipeline.orchestration.run_queue import take_out_of_queue

    try:
        prepare_instance(settings)
        with open_instance() as instance:
            for token in tokens:
                for run_id in take_out_of_queue(instance, token):
                    tell(f"{token}: run {run_id} is taken out of the queue")
    except Exception as error:  # whatever Dagster, or its database, raises
        tell(f"Dagster's queue could not be looked at ({type(error).__name__}); a run in it will end by itself")
