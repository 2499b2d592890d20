"""`eurosky report`: one migration in figures, in the terminal or as a page with plots."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.durations import DURATION
from eurosky_pipeline.cli.output import json_option, print_json, print_pairs, print_table, tell
from eurosky_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from eurosky_pipeline.analytics.account import AccountReport


_LONGEST_REASON = 500
_ATTEMPTS_SHOWN = 10


@click.command()
@click.argument("token")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML file with plots there."
)
@click.option(
    "--every",
    type=DURATION,
    show_default="at most 60 of them make up the transfer",
    help="Interval of the throughput: 1s, 5m, 1h.",
)
@json_option
def report(token: str, *, page: Path | None, every: timedelta | None, is_json: bool) -> None:
    """What became of a migration: which blobs did not arrive, why, and a record that names each; how fast it went.

    Reads the registry, Dagster's history and the manifest among the artifacts, and changes nothing; a migration that is
    under way can be looked at too.

    \b
    eurosky report EURO-…                        in the terminal
    eurosky report EURO-… --html report.html     one file with plots, to be opened in a browser or sent
    """
    from eurosky_pipeline.analytics.account import account_report

    found = account_report(token, every=every)
    if page is not None:
        _write(page, found)
        tell(f"written: {page}")
    if is_json:
        print_json(_as_json(found))
    elif page is None:
        _print(found)


def _write(path: Path, found: AccountReport) -> None:
    """Only its owner can read it: it names a person."""
    from eurosky_pipeline.analytics.page import account_page
    from eurosky_pipeline.artifacts.replacement import Replacement

    text = account_page(found).encode()
    if not path.parent.is_dir():
        raise SettingsError(f"there is no folder {path.parent}", hint="make it, or name another file")
    with Replacement(path) as replacement:
        os.fchmod(replacement.stream.fileno(), 0o600)
        replacement.stream.write(text)
        replacement.keep()


def _print(found: AccountReport) -> None:
    from eurosky_pipeline.analytics.facts import (
        facts,
        human_seconds,
        missing_as_dash,
        size_or_dash,
        text_or_dash,
        without_failures,
    )

    row = found.migration
    print_pairs(f"{row['token']}  {row['handle'] or row['did']}", facts(found))
    if len(found.attempts) > 1:
        _print_attempts(found)
    if found.failures.empty:
        click.echo(f"\n{without_failures(found)}")
    else:
        click.echo("\nwhy blobs did not arrive")
        print_table(
            ["outcome", "code", "blobs", "for example"],
            [
                (f.outcome, missing_as_dash(f.error_code), f.blobs, text_or_dash(f.example))
                for f in found.failures.itertuples()
            ],
        )
        click.echo("\nwhich ones: the blob, a record that names it, the reason")
        for blob in found.not_there.itertuples():
            for line in _not_there(blob):
                click.echo(line)
        if (more := int(found.failures["blobs"].sum()) - len(found.not_there)) > 0:
            click.echo(f"{more:,} more: `eurosky migrations show {row['token']} --all-blobs` has all")
    if len(found.timings):
        click.echo("\nthe assets")
        print_table(
            ["asset", "materialized", "took"],
            [
                (t.asset, f"{t.materialized_at:%Y-%m-%d %H:%M:%S}", human_seconds(t.duration_s))
                for t in found.timings.sort_values("materialized_at").itertuples()
            ],
        )
    if len(found.slowest):
        click.echo("\nthe blobs that took longest")
        print_table(
            ["blob", "size", "type", "requests", "took"],
            [
                (
                    b.blob_cid,
                    size_or_dash(b.size_bytes or None),
                    missing_as_dash(b.mime_type),
                    b.attempts,
                    human_seconds(b.duration_s),
                )
                for b in found.slowest.head(5).itertuples()
            ],
        )


def _print_attempts(found: AccountReport) -> None:
    """The last ones; of a single one, the figures above say all."""
    from eurosky_pipeline.analytics.facts import human_seconds, missing_as_dash

    count = len(found.attempts)
    last = f", the last {_ATTEMPTS_SHOWN} of {count:,}" if count > _ATTEMPTS_SHOWN else ""
    click.echo(f"\nthe attempts{last}")
    print_table(
        ["#", "began", "took", "ended in", "code"],
        [
            (
                a.number,
                f"{a.started_at:%Y-%m-%d %H:%M:%S}",
                human_seconds(a.duration_s),
                missing_as_dash(a.ended_in),
                missing_as_dash(a.error_code),
            )
            for a in found.attempts.sort_values("number").tail(_ATTEMPTS_SHOWN).itertuples()
        ],
    )


def _not_there(blob: Any) -> list[str]:
    """Lines, and not a row of a table: together they are wider than a terminal."""
    from eurosky_pipeline.analytics.facts import is_missing, missing_as_dash, size_or_dash, text_or_dash
    from eurosky_pipeline.words import one_line

    kind = "" if is_missing(blob.mime_type) else f"  {text_or_dash(blob.mime_type)}, {size_or_dash(blob.size_bytes)}"
    named_by = "" if is_missing(blob.named_by) else f"    {text_or_dash(blob.named_by)}"
    return [
        f"{blob.blob_cid}  {blob.outcome}{kind}",
        *filter(None, [named_by]),
        f"    {one_line(missing_as_dash(blob.reason), _LONGEST_REASON)}",
    ]


def _as_json(found: AccountReport) -> dict[str, Any]:
    from eurosky_pipeline.analytics.facts import records

    return {
        **found.migration,
        "blobs": {"at_destination": found.rate.part, "tried": found.rate.whole, "left": found.left.blobs_left},
        "time_left_s": found.left.seconds,
        "pace": found.pace,
        "waited_s": found.waited_s,
        "every_s": found.every.total_seconds(),
        "progress": records(found.progress),
        "attempts": records(found.attempts),
        "failures": records(found.failures),
        "not_there": records(found.not_there),
        "slowest": records(found.slowest),
        "largest": records(found.largest),
        "assets": records(found.timings),
    }
