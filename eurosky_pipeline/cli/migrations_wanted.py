"""Which migrations a command is about: the options that `list` and `export` share, and `--all-failed`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eurosky_pipeline.cli.durations import DURATION
from eurosky_pipeline.cli.output import tell

if TYPE_CHECKING:
    from eurosky_pipeline.registry.queries import Wanted
    from eurosky_pipeline.registry.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--state", "states", multiple=True, help="Only this state; may be given several times."),
    click.option("--host", metavar="URL", help="Only from or to this server."),
    click.option("--older-than", type=DURATION, help="Only those registered longer ago: 90s, 15m, 36h, 2d, 4w."),
    click.option("--newer-than", type=DURATION, help="Only those registered since then."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many, the oldest ones."),
)


def wanted_options(command: Command) -> Command:
    """`--state`, `--host`, `--older-than`, `--newer-than`, `--limit`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted_of(
    states: tuple[str, ...],
    host: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
) -> Wanted:
    """What these options ask for. Raises: click.BadParameter for a state that is none; SettingsError for a host."""
    from datetime import UTC, datetime

    from eurosky_pipeline.registry.queries import Wanted
    from eurosky_pipeline.registry.states import State
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

    try:
        chosen = tuple(State(state) for state in states)
    except ValueError:
        raise click.BadParameter(f"a state is one of {', '.join(State)}", param_hint="--state") from None
    now = datetime.now(UTC)
    return Wanted(
        states=chosen,
        # nobody is asked: a sandbox's host, though it is down, is as good as any to look for
        host=None if host is None else HostPolicy(is_private_allowed=True).normalize(host),
        created_before=None if older_than is None else now - older_than,
        created_after=None if newer_than is None else now - newer_than,
    )


def failed_tokens(registry: Registry) -> list[str]:
    """What `--all-failed` means: those that failed, the oldest first. One whose account was registered anew since is
    left as it is, which is told."""
    from eurosky_pipeline.registry.queries import Wanted
    from eurosky_pipeline.registry.states import State

    failed = (State.FAILED,)
    found = [migration.token for migration in registry.each(Wanted(states=failed, is_outdated=False))]
    left = sum(1 for _ in registry.each(Wanted(states=failed, is_outdated=True)))
    if left:
        tell(f"failed, and left so: {left}, of accounts that have newer migrations")
    elif not found:
        tell("no migration is in state failed")
    return found
