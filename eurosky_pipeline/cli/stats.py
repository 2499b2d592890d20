"""`eurosky stats`: all migrations in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.durations import DURATION
from eurosky_pipeline.cli.migrations_wanted import wanted_of
from eurosky_pipeline.cli.output import json_option, print_json, print_pairs, print_table

if TYPE_CHECKING:
    from eurosky_pipeline.analytics.totals import Totals


@click.command()
@click.option("--state", "states", multiple=True, help="Only this state; may be given several times.")
@click.option("--host", metavar="URL", help="Only from or to this server.")
@click.option("--newer-than", type=DURATION, help="Only those registered since then: 90s, 15m, 36h, 2d, 4w.")
@json_option
def stats(states: tuple[str, ...], *, host: str | None, newer_than: timedelta | None, is_json: bool) -> None:
    """All migrations in figures: how many stand where, how many blobs arrived, how fast, what failed and why.

    Reads the registry and changes nothing; it may be asked at any time, while thousands are under way too.

    \b
    eurosky stats --newer-than 1d --host https://new.example.com
    """
    from eurosky_pipeline.analytics.totals import totals

    found = totals(wanted_of(states, host, None, newer_than))
    if is_json:
        print_json(_as_json(found))
    else:
        _print(found)


def _print(found: Totals) -> None:
    from eurosky_pipeline.analytics.facts import missing_as_dash, size_or_dash, text_or_dash

    print_pairs("", [(name, value) for name, value in _facts(found) if value])
    if len(found.hosts):
        click.echo("\nby destination")
        print_table(
            ["destination", "migrations", "finished", "failed", "waiting"],
            [(h.destination_pds, h.migrations, h.finished, h.failed, h.waiting) for h in found.hosts.itertuples()],
        )
    if len(found.errors):
        click.echo("\nwhy migrations failed, or wait")
        print_table(
            ["state", "code", "migrations", "for example"],
            [(e.state, e.error_code, e.migrations, text_or_dash(e.example)) for e in found.errors.itertuples()],
        )
    if len(found.failures):
        click.echo("\nwhy blobs are not at the destination")
        print_table(
            ["outcome", "code", "blobs", "size", "for example"],
            [
                (
                    f.outcome,
                    missing_as_dash(f.error_code),
                    f.blobs,
                    size_or_dash(f.size_bytes or None),
                    text_or_dash(f.example),
                )
                for f in found.failures.itertuples()
            ],
        )


def _facts(found: Totals) -> list[tuple[str, str]]:
    from eurosky_pipeline.analytics.facts import human_seconds, size_or_dash

    share = "" if found.rate.share is None else f" ({found.rate.share:.2%})"
    return [
        ("migrations", ", ".join(f"{count:,} {state}" for state, count in found.states.items()) or "none"),
        ("blobs at the destination", f"{found.rate.part:,} of {found.rate.whole:,} that were tried{share}"),
        ("sent", size_or_dash(found.bytes_sent)),
        ("blobs arrived within", f"{human_seconds(found.median_span_s)}, median" if len(found.pace) else ""),
        ("pace in that time", f"{size_or_dash(found.median_bytes_per_s)}/s, median" if len(found.pace) else ""),
        ("waited for hosts", human_seconds(found.waited_s) if found.waited_s else ""),
    ]


def _as_json(found: Totals) -> dict[str, Any]:
    from eurosky_pipeline.analytics.facts import records

    return {
        "migrations": found.states,
        "blobs": {"at_destination": found.rate.part, "tried": found.rate.whole},
        "bytes_sent": found.bytes_sent,
        "median_span_s": found.median_span_s,
        "median_bytes_per_s": found.median_bytes_per_s,
        "waited_s": found.waited_s,
        "by_destination": records(found.hosts),
        "errors": records(found.errors),
        "failures": records(found.failures),
    }
