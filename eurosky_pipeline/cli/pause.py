"""`eurosky pause` and `eurosky resume`: nothing new starts, what runs ends; and waiting until it has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from eurosky_pipeline.cli.output import json_option, moment, print_json, tell
from eurosky_pipeline.errors import ConflictError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from eurosky_pipeline.orchestration.run_queue import UnderWay
    from eurosky_pipeline.registry.controls import Controls
    from eurosky_pipeline.registry.pause import Pause

LOOK_S: Final = 1.0
TELL_S: Final = 5.0
QUIET_LOOKS: Final = 3
"""So often in a row nothing is under way until it is believed: `eurosky migrate` may have asked just before."""
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at what is under way. `is_launching`: the daemon has not seen the pause yet, and may launch still."""

    pause: Pause | None
    under_way: tuple[UnderWay, ...]
    is_launching: bool = False

    @property
    def is_quiet(self) -> bool:
        return not self.under_way and not self.is_launching

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.under_way[:_SHOWN])) + (" …" if len(self.under_way) > _SHOWN else "")
        runs = f"{len(self.under_way)} runs under way: {shown}" if self.under_way else "no run is under way"
        return runs + ("; the daemon has not seen the pause yet" if self.is_launching else "")


@click.command()
@click.option("--wait", is_flag=True, help="Wait until nothing is under way any more.")
@click.option("--note", default="", metavar="TEXT", help="Why, for whoever finds it paused; 500 characters are kept.")
@json_option
def pause(*, wait: bool, note: str, is_json: bool) -> None:
    """Start nothing new; what runs ends as it would.

    The queue launches no run, the sensors ask for none, and `eurosky migrate` and `eurosky demo` refuse, until `eurosky
    resume`; a restart of anything changes nothing about it. Runs may still be queued: they wait. To pause again only
    replaces the note.

    With --wait it returns when no run is under way any more: then everything may be stopped, backed up or upgraded
    without interrupting a migration. Ctrl-C ends the waiting; the pause stays.

    \b
    Exit code: 0 paused, and with --wait nothing is under way · 1 stopped, or somebody has resumed meanwhile
    """
    from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
    from eurosky_pipeline.orchestration.run_queue import count_queued, heeds_pause
    from eurosky_pipeline.registry.controls import open_controls
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    begun = registry.pause(note)
    registry.close()
    tell(f"{begun}; `eurosky resume` ends it")
    prepare_instance(settings)
    controls = open_controls(settings)
    with open_instance() as instance:
        if not heeds_pause(instance):
            tell(
                "warning: the queue of this instance's dagster.yaml does not ask for a pause, and launches what waits "
                "in it; `eurosky doctor` says what the file lacks"
            )
        seen = look(instance, controls)
        if wait:
            seen = wait_until_quiet(lambda: look(instance, controls), begun)
        queued = count_queued(instance)
    controls.close()
    if is_json:
        print_json(
            {
                "paused": True,
                "since": moment(begun.since),
                "note": begun.note,
                "under_way": [{"run_id": run.run_id, "job": run.job, "token": run.token} for run in seen.under_way],
                "queued": queued,
            }
        )
        return
    click.echo(f"{seen}, {queued} wait in the queue")


@click.command()
@json_option
def resume(*, is_json: bool) -> None:
    """Let things start again: the end of `eurosky pause`.

    What waits in the queue is launched within seconds where `eurosky up` runs. Where nothing is paused nothing happens.
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    registry = open_registry(load_settings())
    ended = registry.end_pause()
    registry.close()
    if is_json:
        since, note = (None, "") if ended is None else (moment(ended.since), ended.note)
        print_json({"paused": False, "was_paused": ended is not None, "since": since, "note": note})
        return
    click.echo("nothing was paused" if ended is None else f"resumed; it was {ended}")


def look(instance: DagsterInstance, controls: Controls) -> Seen:
    """What is under way now, and whether the daemon may still be launching what it had chosen before the pause."""
    from eurosky_pipeline.orchestration.run_queue import heeds_pause, is_worked_on, runs_under_way

    found = controls.paused()
    is_seen = found is None or controls.is_seen(found) or not heeds_pause(instance) or not is_worked_on(instance)
    return Seen(found, tuple(runs_under_way(instance)), is_launching=not is_seen)


def wait_until_quiet(
    look: Callable[[], Seen],
    begun: Pause,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen:
    """The last look, after a few in a row at which nothing was under way. An interruption says that the pause stays.

    Raises: ConflictError: this pause has been ended by somebody.
    """
    quiet_looks, told_s, told = 0, clock() - TELL_S, ""
    try:
        while True:
            seen = look()
            if seen.pause is None or seen.pause.since != begun.since:
                raise ConflictError(
                    "somebody has ended the pause that was waited in",
                    code="pause_ended",
                    hint="things start again; `eurosky pause --wait` begins another one",
                )
            quiet_looks = quiet_looks + 1 if seen.is_quiet else 0
            if quiet_looks == QUIET_LOOKS:
                return seen
            if not seen.is_quiet and (str(seen) != told or clock() - told_s >= TELL_S):
                told, told_s = str(seen), clock()
                tell(f"waiting: {told}")
            sleep(LOOK_S)
    except KeyboardInterrupt:
        tell("no longer waited for; the pause stays until `eurosky resume`")
        raise
