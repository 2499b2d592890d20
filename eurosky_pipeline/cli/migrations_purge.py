"""`eurosky migrations purge`: deleting what finished migrations have left."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.durations import DURATION
from eurosky_pipeline.cli.output import json_option, print_json, print_table, tell
from eurosky_pipeline.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eurosky_pipeline.artifacts.purge import Purged
    from eurosky_pipeline.registry.purge import Purge
    from eurosky_pipeline.registry.states import State
    from eurosky_pipeline.settings import Settings

EXIT_REFUSED = 3


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN…]")
@click.option("--older-than", type=DURATION, metavar="SPAN", help="Those that ended before that: 30d, 12h.")
@click.option("--state", "states", multiple=True, help="Only this state; may be given several times.")
@click.option("--forget", is_flag=True, help="DID, handle and Dagster's runs of them too; they cannot be run again.")
@click.option("--dry-run", is_flag=True, help="Delete nothing; say what would go.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@json_option
def purge(
    tokens: tuple[str, ...],
    older_than: timedelta | None,
    states: tuple[str, ...],
    *,
    forget: bool,
    dry_run: bool,
    is_sure: bool,
    is_json: bool,
) -> None:
    """Delete the files, the ledger and the passwords of finished migrations.

    Either the migrations that are named, or those that --older-than and --state choose: of the states pending_prefs,
    completed, failed and cancelled. Their CARs, manifests, reports and scratch go, and the names of blobs. What stays
    is the row: token, account, hosts, state, times, counts. With --forget the account goes from it as well.

    A failed migration that is purged can still be run again, from its beginning.

    \b
    Exit code: 0 done · 3 some that were named are not finished, and stay · 1 error · 2 bad arguments
    """
    from eurosky_pipeline.registry.purge import open_purge
    from eurosky_pipeline.settings import load_settings

    wanted = _states(states)
    if not tokens and older_than is None and not states:
        raise click.UsageError("name at least one TOKEN, or say which with --older-than or --state")
    if tokens and (older_than is not None or states):
        raise click.UsageError("either TOKENs, or --older-than and --state")
    if not dry_run and not is_sure and not _can_ask():
        raise click.UsageError("--yes is needed where nobody can be asked; --dry-run shows what would go")
    settings = load_settings()
    opened = open_purge(settings)
    try:
        if tokens:
            chosen, refused = _finished(opened, dict.fromkeys(tokens))
        else:
            ended_before = None if older_than is None else datetime.now(UTC) - older_than
            chosen, refused = (
                [migration.token for migration in opened.due(wanted, ended_before, is_forgetting=forget)],
                [],
            )
        if not dry_run and not is_sure and chosen:
            click.confirm(f"delete what is kept of {len(chosen)} finished migrations?", abort=True, err=True)
        done: list[Purged] = []
        for token in chosen:
            try:
                done.append(_purged(opened, settings, token, is_dry=dry_run, is_forgetting=forget))
            except ConflictError as error:  # it has been taken up since it was chosen
                refused.append((token, error.message))
    finally:
        opened.close()
    _print(done, refused, is_dry=dry_run, is_json=is_json)
    if refused:
        sys.exit(EXIT_REFUSED)


def _states(names: Sequence[str]) -> tuple[State, ...]:
    from eurosky_pipeline.registry.purge import PURGEABLE

    unknown = [name for name in names if name not in list(PURGEABLE)]
    if unknown:
        raise click.BadParameter(f"a state that can be purged is one of {', '.join(PURGEABLE)}", param_hint="--state")
    return tuple(state for state in PURGEABLE if not names or state in names)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _finished(opened: Purge, tokens: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Those that can be purged, and for each of the others why not. Raises SettingsError for an unknown token."""
    chosen, refused = list[str](), list[tuple[str, str]]()
    for token in tokens:
        try:
            chosen.append(opened.get(token).token)
        except ConflictError as error:
            refused.append((token, error.message))
    return chosen, refused


def _purged(opened: Purge, settings: Settings, token: str, *, is_dry: bool, is_forgetting: bool) -> Purged:
    from eurosky_pipeline.artifacts.purge import purge_migration, would_purge

    if is_dry:
        return would_purge(opened, settings, token)
    if not is_forgetting:
        return purge_migration(opened, settings, token)
    from eurosky_pipeline.orchestration.forgetting import forget_runs

    return purge_migration(
        opened, settings, token, is_forgetting=True, before_rows=lambda: forget_runs(settings, token)
    )


def _print(done: Sequence[Purged], refused: Sequence[tuple[str, str]], *, is_dry: bool, is_json: bool) -> None:
    total: dict[str, Any] = {
        "migrations": len(done),
        "files": sum(each.files for each in done),
        "bytes": sum(each.size_bytes for each in done),
        "ledger_rows": sum(each.ledger_rows for each in done),
        "credentials": sum(each.credentials for each in done),
    }
    if is_json:
        each_of = [
            {"token": p.token, "files": p.files, "bytes": p.size_bytes}
            | {"ledger_rows": p.ledger_rows, "credentials": p.credentials}
            for p in done
        ]
        left = [{"token": token, "reason": reason} for token, reason in refused]
        print_json({"is_dry_run": is_dry, **total, "purged": each_of, "refused": left})
        return
    if done:
        rows = [(p.token, p.files, p.size_bytes, p.ledger_rows, p.credentials) for p in done]
        rows.append(("in all", total["files"], total["bytes"], total["ledger_rows"], total["credentials"]))
        print_table(["token", "files", "bytes", "ledger rows", "passwords"], rows)
    for token, reason in refused:
        tell(f"left as it is: {reason or token}")
    tell(f"{len(done)} {'would be purged' if is_dry else 'purged'}")
