"""`eurosky sensors`: what starts by itself, and switching it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.output import json_option, moment, print_json, print_table, tell

if TYPE_CHECKING:
    from eurosky_pipeline.orchestration.instigators import Instigator


@click.group()
def sensors() -> None:
    """What starts by itself under `eurosky up`: sensors and schedules.

    All are on, but for those that EUROSKY_SENSORS_OFF names. What is switched here, or in the UI, stays so until it is
    switched again, whatever the setting says. `eurosky up` need not run for it.
    """


@sensors.command("list")
@json_option
def list_(*, is_json: bool) -> None:
    """Show each with whether it is on, how often it looks, and what it said last."""
    _print(_switched([], is_on=None), is_json=is_json)


@sensors.command()
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "is_all", is_flag=True, help="Every sensor and schedule.")
@json_option
def on(names: tuple[str, ...], *, is_all: bool, is_json: bool) -> None:
    """Switch on; the daemon of `eurosky up` ticks it from then on."""
    _print(_switched(_chosen(names, is_all=is_all), is_on=True), is_json=is_json)


@sensors.command()
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "is_all", is_flag=True, help="Every sensor and schedule.")
@json_option
def off(names: tuple[str, ...], *, is_all: bool, is_json: bool) -> None:
    """Switch off; a tick that is under way ends. `eurosky pause` keeps runs from starting at all, by hand too."""
    _print(_switched(_chosen(names, is_all=is_all), is_on=False), is_json=is_json)


def _chosen(names: tuple[str, ...], *, is_all: bool) -> list[str]:
    from eurosky_pipeline.orchestration.switches import names as all_names

    known = all_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"there is no {', '.join(unknown)[:200]}; there are {', '.join(known)}")
    if is_all == bool(names):
        raise click.UsageError("name at least one, or --all; `eurosky sensors list` shows them")
    return known if is_all else list(dict.fromkeys(names))


def _switched(names: list[str], *, is_on: bool | None) -> list[Instigator]:
    """Those that were switched, or all, as they stand now."""
    from eurosky_pipeline.orchestration.instance import open_instance, prepare_instance
    from eurosky_pipeline.orchestration.instigators import look, switch
    from eurosky_pipeline.orchestration.switches import check_names
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    check_names(settings)
    prepare_instance(settings)
    with open_instance() as instance:
        if is_on is not None:
            for name in names:
                switch(instance, name, is_on=is_on)
        return look(instance, names)


def _print(rows: list[Instigator], *, is_json: bool) -> None:
    if is_json:
        print_json([_document(row) for row in rows])
        return
    print_table(
        ["name", "", "looks", "last tick (UTC)", "it said"],
        [
            (
                row.name,
                "on" if row.is_on else "off",
                row.when,
                f"{row.last_tick.at:%Y-%m-%d %H:%M:%S}, {row.last_tick.status}" if row.last_tick else "never",
                row.last_tick.said if row.last_tick else "",
            )
            for row in rows
        ],
    )
    if any(row.is_on for row in rows):
        tell("what is on ticks while `eurosky up` runs")


def _document(row: Instigator) -> dict[str, Any]:
    tick = row.last_tick
    return {
        "name": row.name,
        "kind": row.kind,
        "is_on": row.is_on,
        "is_switched": row.is_switched,
        "when": row.when,
        "what": row.what,
        "last_tick": None if tick is None else {"at": moment(tick.at), "status": tick.status, "said": tick.said},
    }
