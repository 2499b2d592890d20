"""`eurosky migrations retry`: back to where they stopped, with passwords anew where those are gone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.migrations_rows import Done, print_done
from eurosky_pipeline.cli.migrations_wanted import failed_tokens
from eurosky_pipeline.cli.output import convert_option, json_option
from eurosky_pipeline.cli.passwords import password_of
from eurosky_pipeline.errors import EuroskyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from eurosky_pipeline.registry.registry import Registry
    from eurosky_pipeline.registry.vault import Side


@click.command()
@click.argument("tokens", nargs=-1, metavar="TOKEN…")
@click.option(
    "--all-failed", is_flag=True, help="Every migration in state failed, but of accounts that have a newer one."
)
@click.option(
    "--destination-password-env",
    metavar="VAR",
    help="Environment variable with the destination's password, where the stored one has expired or was deleted.",
)
@click.option("--source-password-env", metavar="VAR", help="The same for the source.")
@convert_option
@json_option
def retry(
    tokens: tuple[str, ...],
    *,
    all_failed: bool,
    destination_password_env: str | None,
    source_password_env: str | None,
    convert_legacy_blobs: bool | None,
    is_json: bool,
) -> None:
    """Bring failed, waiting or cancelled migrations back to where they stopped, wanted to be started again.

    What is done stays done, and the error is forgotten. `eurosky up` starts it by itself, `eurosky migrate TOKEN` now.
    --convert-legacy-blobs, or its opposite, is remembered for these migrations.

    Passwords are kept for 48 hours, and deleted when a migration is cancelled; those given here take their place. One
    is never sent to two hosts: with several migrations, all must be of the same host.

    \b
    Exit code: 0 all are back · 1 at least one is not
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.registry.vault import Side
    from eurosky_pipeline.settings import load_settings

    if not tokens and not all_failed:
        raise click.UsageError("name at least one TOKEN, or --all-failed; `eurosky migrations list` shows them")
    variables = {Side.DESTINATION: destination_password_env, Side.SOURCE: source_password_env}
    passwords = {side: password_of(variable) for side, variable in variables.items() if variable}
    registry = open_registry(load_settings())
    failed = failed_tokens(registry) if all_failed else []
    chosen = list(dict.fromkeys([*tokens, *failed]))
    for side in passwords:
        _check_one_host(registry, chosen, side)
    done = [_retried(registry, token, passwords, is_conversion_wanted=convert_legacy_blobs) for token in chosen]
    registry.close()
    print_done(done, _told, is_json=is_json, is_list=all_failed or len(chosen) > 1)
    sys.exit(1 if any(each.error for each in done) else 0)


def _retried(
    registry: Registry, token: str, passwords: Mapping[Side, SecretStr], *, is_conversion_wanted: bool | None
) -> Done:
    try:
        migration = registry.retry(token, passwords)
        if is_conversion_wanted is not None:
            registry.override_conversion(token, is_wanted=is_conversion_wanted)
    except EuroskyError as error:
        return Done(token, "", error=error)
    return Done(token, str(migration.state), note=_password_note(registry, token))


def _password_note(registry: Registry, token: str) -> str:
    """What a person should know before the next run fails of it."""
    from eurosky_pipeline.registry.vault import Side

    try:
        if registry.password(token, Side.DESTINATION) is not None:
            return ""
    except EuroskyError as error:
        return error.with_hint()
    return (
        "no destination password is stored → "
        f"`eurosky migrations retry {token} --destination-password-env VAR` gives it anew"
    )


def _check_one_host(registry: Registry, tokens: list[str], side: Side) -> None:
    """Raises UsageError if one password would be for accounts on several hosts, of which each would see it."""
    hosts = set()
    for token in tokens:
        try:
            hosts.add(getattr(registry.get(token), f"{side}_pds"))
        except EuroskyError:  # told when it is this one's turn
            continue
    if len(hosts) > 1:
        raise click.UsageError(
            f"these migrations have {len(hosts)} {side} hosts, and a password is for one: retry them host by host"
        )


def _told(done: Done) -> str:
    how = f"`eurosky up` starts it by itself, `eurosky migrate {done.token}` now"
    return f"{done.token} is {done.state}; {how}"
