"""`eurosky plugins`: what others have added, from where, and what of it is broken."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_table, tell

if TYPE_CHECKING:
    from eurosky_pipeline.plugins.inventory import Inventory

EXIT_LACKING = 3


@click.command()
@json_option
def plugins(*, is_json: bool) -> None:
    """List what plugins offer: record transforms, intake sources and event sinks.

    Each with its version, the package and plugin that it comes from, and whether the settings use it; then the plugins
    that are broken, with the reason. What is built in stands among them. docs/plugins.md tells how to write one.

    \b
    EUROSKY_RECORD_TRANSFORMS, EUROSKY_INTAKE_SOURCES and EUROSKY_EVENT_SINKS name those that are used.
    Exit code: 0 what they name is there · 3 some of it cannot be had · 1 stopped · 2 bad arguments
    """
    from eurosky_pipeline.plugins.inventory import take_stock
    from eurosky_pipeline.plugins.kinds import EVENT_SINKS, INTAKE_SOURCES, RECORD_TRANSFORMS
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    stock = take_stock(
        {
            RECORD_TRANSFORMS.variable: settings.record_transforms,
            INTAKE_SOURCES.variable: settings.intake_sources,
            EVENT_SINKS.variable: settings.event_sinks,
        }
    )
    if is_json:
        print_json(_as_json(stock))
    else:
        _print(stock)
    sys.exit(EXIT_LACKING if stock.lacks else 0)


def _as_json(stock: Inventory) -> dict[str, object]:
    from eurosky_pipeline.plugins.kinds import KINDS

    kinds = {kind.hook: kind.key for kind in KINDS}
    return {
        "ok": not stock.lacks,
        "plugins": [
            {
                "kind": item.kind.key,
                "name": item.name,
                "version": item.version,
                "package": item.origin.distribution,
                "package_version": item.origin.distribution_version,
                "plugin": item.origin.plugin,
                "used": item.use,
            }
            for item in stock.items
        ],
        "faults": [
            {
                "plugin": fault.origin.plugin,
                "package": fault.origin.distribution,
                "package_version": fault.origin.distribution_version,
                "kind": kinds.get(fault.hook or ""),
                "name": fault.offers,
                "reason": fault.reason,
            }
            for fault in stock.faults
        ],
        "missing": [
            {
                "kind": lack.kind.key,
                "name": lack.missing.name,
                "code": lack.missing.code,
                "reason": lack.missing.reason,
                "hint": lack.missing.hint,
            }
            for lack in stock.lacks
        ],
    }


def _print(stock: Inventory) -> None:
    print_table(
        ["kind", "name", "version", "package", "plugin", "used"],
        [
            (
                item.kind.title,
                item.name,
                item.version,
                f"{item.origin.distribution} {item.origin.distribution_version}",
                item.origin.plugin,
                item.use,
            )
            for item in stock.items
        ],
    )
    if stock.faults:
        print_table(
            ["broken plugin", "package", "reason"],
            [
                (each.origin.plugin, f"{each.origin.distribution} {each.origin.distribution_version}", each.reason)
                for each in stock.faults
            ],
        )
    for lack in stock.lacks:
        tell(f"{lack.kind.variable}: {lack.missing.reason}")
        tell(f"  → {lack.missing.hint}")
