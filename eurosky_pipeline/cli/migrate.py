"""`eurosky migrate`: migrations run now, one after the other, in this process."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.foreground import run_migration
from eurosky_pipeline.cli.migrations_wanted import failed_tokens
from eurosky_pipeline.cli.output import convert_option, json_option, print_json, print_table, tell
from eurosky_pipeline.cli.run_outcome import (
    EXIT_DONE,
    EXIT_PARTIAL,
    EXIT_WAITING,
    STOPPED,
    Outcome,
    not_begun,
    severity,
    waiting_line,
)
from eurosky_pipeline.cli.telling import tell_sinks

if TYPE_CHECKING:
    from eurosky_pipeline.registry.registry import Registry


@click.command()
@click.argument("tokens", nargs=-1, metavar="TOKEN…")
@click.option(
    "--all-failed", is_flag=True, help="Every migration in state failed, but of accounts that have a newer one."
)
@convert_option
@json_option
def migrate(tokens: tuple[str, ...], *, all_failed: bool, convert_legacy_blobs: bool | None, is_json: bool) -> None:
    """Run migrations now, in the foreground, one after the other.

    Each is a run of the job migrate_account, seen in the Dagster UI like any other. Running one again is safe: the
    repository is exported and compared anew, and what the destination already has is not sent again.
    --convert-legacy-blobs, or its opposite, is remembered for these migrations. In a pause (`eurosky pause`) none is
    begun.

    One that waits in the queue of `eurosky up` is taken out of it and run here; one that a run works on is left to
    that run, with exit code 1 and the code lease_held.

    \b
    Exit code: 0 everything arrived · 3 some blobs cannot be had
               4 a host's rate limit is waited for; run it again then
               1 failed, or stopped by Ctrl-C · 2 bad arguments
    """
    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.orchestration.instance import prepare_instance
    from eurosky_pipeline.registry.pause import PausedError
    from eurosky_pipeline.registry.registry import LeaseHeldError, open_registry
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    registry = open_registry(settings)
    registry.require_not_paused()
    registry.purge_credentials()
    try:
        failed = failed_tokens(registry) if all_failed else []
        chosen = list(dict.fromkeys([*failed, *(_taken_up(registry, token) for token in tokens)]))
    except SettingsError as error:
        raise click.UsageError(error.with_hint()) from None
    if not chosen and not all_failed:
        raise click.UsageError("name at least one TOKEN, or --all-failed; `eurosky migrations list` shows them")
    if convert_legacy_blobs is not None:
        for token in chosen:
            registry.override_conversion(token, is_wanted=convert_legacy_blobs)
    prepare_instance(settings)
    outcomes: list[Outcome] = []
    for token in chosen:
        try:
            outcomes.append(run_migration(token, registry))
        except PausedError as error:  # since the command began
            outcomes += [not_begun(registry, each, error) for each in chosen[len(outcomes) :]]
            break
        except LeaseHeldError as error:
            outcomes.append(not_begun(registry, token, error))
        if outcomes[-1].error_code == STOPPED:
            break
    registry.close()
    tell_sinks(settings)
    if is_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        _print_outcomes(outcomes)
    sys.exit(max((outcome.exit_code for outcome in outcomes), key=severity, default=EXIT_DONE))


def _taken_up(registry: Registry, token: str) -> str:
    """A cancelled migration that a person names is wanted again.

    Raises: SettingsError for an unknown token, LeaseHeldError while a run is about to stop working on it, ConflictError
    for one that is forgotten.
    """
    from eurosky_pipeline.registry.states import State

    migration = registry.get(token)
    migration.require_known()
    if migration.state is State.CANCELLED or migration.cancel_requested_at is not None:
        registry.retry(token)
    return token


def _print_outcomes(outcomes: list[Outcome]) -> None:
    header = ["token", "state", "blobs", "reconciliation", "run"]
    rows = [(o.token, o.state, o.blobs, o.reconciliation_status, o.run_id) for o in outcomes]
    if rows:
        print_table(header, rows)
    for outcome in outcomes:
        if outcome.exit_code == EXIT_WAITING:
            tell(f"{outcome.token}: {waiting_line(outcome)}")
        elif outcome.error:
            name = "" if outcome.error.startswith(outcome.token) else f"{outcome.token}: "
            tell(f"{name}{outcome.error} [{outcome.error_code}]")
        elif outcome.exit_code == EXIT_PARTIAL:
            tell(f"{outcome.token}: {outcome.failed_blobs} blobs are not there; {outcome.report} names them")
            for reason in outcome.kept_back:
                tell(f"  {reason}")
        for warning in outcome.warnings:
            tell(f"{outcome.token}: {warning}")
