"""`eurosky migrations`: the registry from the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.output import convert_option, json_option, moment, print_json, print_pairs, print_table, tell
from eurosky_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from eurosky_pipeline.registry.migration import Migration


@click.group()
def migrations() -> None:
    """Register migrations and look at them."""


@migrations.command()
@click.option("--did", required=True, help="The account, did:plc:… or did:web:….")
@click.option("--source-pds", required=True, metavar="URL", help="The server that holds the account now.")
@click.option("--destination-pds", required=True, metavar="URL", help="The server it moves to; has it, deactivated.")
@click.option(
    "--destination-password-env",
    required=True,
    metavar="VAR",
    help="Environment variable with the account's main password at the destination.",
)
@click.option(
    "--source-password-env", metavar="VAR", help="The same for the source; needed if it is deactivated there."
)
@click.option("--handle", help="The account's handle; a migration of another account's stops at once.")
@convert_option
@click.option(
    "--allow-active-destination",
    is_flag=True,
    help="Import even if the account is active at the destination: what was written there is deleted.",
)
@json_option
def add(
    did: str,
    source_pds: str,
    destination_pds: str,
    destination_password_env: str,
    source_password_env: str | None,
    handle: str | None,
    *,
    convert_legacy_blobs: bool | None,
    allow_active_destination: bool,
    is_json: bool,
) -> None:
    """Register one migration; nothing moves yet. Prints its token.

    Passwords come from environment variables, never from the command line, and are stored encrypted for 48 hours.
    """
    from eurosky_pipeline.registry.migration import NewMigration
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.registry.vault import Side
    from eurosky_pipeline.sandbox.state import allowed_addresses
    from eurosky_pipeline.settings import load_settings
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

    settings = load_settings()
    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    passwords = {Side.DESTINATION: _password(destination_password_env)}
    if source_password_env:
        passwords[Side.SOURCE] = _password(source_password_env)
    new = NewMigration(
        did=did,
        source_pds=policy.normalize(source_pds),
        destination_pds=policy.normalize(destination_pds),
        handle=handle and _spelled(handle),
        convert_legacy_blobs=convert_legacy_blobs,
        is_active_destination_allowed=allow_active_destination,
    )
    registry = open_registry(settings)
    migration = registry.add(new, passwords)
    registry.close()
    if is_json:
        print_json({"token": migration.token})
    else:
        click.echo(migration.token)
        tell(f"registered; `eurosky migrate {migration.token}` moves it now")


@migrations.command("list")
@click.option("--state", "states", multiple=True, help="Only this state; may be given several times.")
@json_option
def list_(states: tuple[str, ...], *, is_json: bool) -> None:
    """Every migration, oldest first."""
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.registry.states import State
    from eurosky_pipeline.settings import load_settings

    try:
        wanted = [State(state) for state in states]
    except ValueError:
        raise click.BadParameter(f"a state is one of {', '.join(State)}", param_hint="--state") from None
    registry = open_registry(load_settings())
    found = registry.find(wanted)
    registry.close()
    if is_json:
        print_json([_row(migration) for migration in found])
        return
    if not found:
        tell(
            f"no migration is {' or '.join(wanted)}"
            if wanted
            else "no migration; `eurosky migrations add` registers one"
        )
        return
    header = ["token", "account", "state", "blobs", "source", "destination"]
    print_table(header, [_cells(migration) for migration in found])


@migrations.command()
@click.argument("token")
@json_option
def show(token: str, *, is_json: bool) -> None:
    """One migration with its progress, and what went wrong if anything did."""
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    registry = open_registry(load_settings())
    migration = registry.get(token)
    registry.close()
    if is_json:
        print_json(_row(migration) | _details(migration))
        return
    details = _details(migration)
    progress = details.pop("progress_data")
    error = details.pop("error") or {}
    rows = {**_row(migration), **details, **{f"error {k}": v for k, v in error.items()}, **progress}
    print_pairs(token, [(name, value) for name, value in rows.items() if value is not None])


@migrations.command()
@click.argument("token")
@convert_option
@json_option
def retry(token: str, *, convert_legacy_blobs: bool | None, is_json: bool) -> None:
    """Bring a failed, waiting or cancelled migration back to where it stopped; nothing moves yet.

    What is done stays done, and the error is forgotten. `eurosky migrate TOKEN` runs it, or a run of its partition in
    the UI. --convert-legacy-blobs, or its opposite, is remembered for this migration.
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    registry = open_registry(load_settings())
    migration = registry.retry(token)
    if convert_legacy_blobs is not None:
        registry.override_conversion(token, is_wanted=convert_legacy_blobs)
    registry.close()
    if is_json:
        print_json({"token": token, "state": str(migration.state)})
    else:
        tell(f"{token} is {migration.state}; `eurosky migrate {token}` runs it now")


@migrations.command()
@click.argument("token")
@json_option
def cancel(token: str, *, is_json: bool) -> None:
    """Give a migration up: another one of the same account may then be registered. `migrate` takes it up again.

    Nothing is undone: what has arrived at the destination stays there.
    """
    from eurosky_pipeline.registry.registry import open_registry
    from eurosky_pipeline.settings import load_settings

    registry = open_registry(load_settings())
    registry.cancel(token)
    registry.close()
    if is_json:
        print_json({"token": token, "state": "cancelled"})
    else:
        tell(f"{token} is cancelled")


def _spelled(handle: str) -> str:
    """Without the @ of a mention, in lower case. Letters beyond ASCII, of which some become ASCII, are left as they are
    for the check."""
    name = handle.removeprefix("@")
    return name.lower() if name.isascii() else name


def _row(migration: Migration) -> dict[str, Any]:
    return {
        "token": migration.token,
        "did": migration.did,
        "handle": migration.handle,
        "state": str(migration.state),
        "resume_at": moment(migration.resume_at),
        "source_pds": migration.source_pds,
        "destination_pds": migration.destination_pds,
        "created_at": moment(migration.created_at),
        "updated_at": moment(migration.updated_at),
    }


def _details(migration: Migration) -> dict[str, Any]:
    has_error = migration.error_code is not None
    return {
        "stopped_in": migration.stopped_in,
        "attempts": migration.attempts,
        "convert_legacy_blobs": migration.convert_legacy_blobs,
        "error": {"code": migration.error_code, "text": migration.error_text} if has_error else None,
        "progress_data": migration.progress_data,
    }


def _cells(migration: Migration) -> tuple[object, ...]:
    progress = migration.progress_data
    blobs = f"{progress.get('blobs_completed', 0)}/{progress['blobs_total']}" if "blobs_total" in progress else ""
    return (
        migration.token,
        migration.handle or migration.did,
        f"{migration.state} until {moment(migration.resume_at)}" if migration.resume_at else migration.state,
        blobs,
        migration.source_pds,
        migration.destination_pds,
    )


def _password(variable: str) -> SecretStr:
    from pydantic import SecretStr

    value = os.environ.get(variable, "")
    if not value:
        raise SettingsError(
            f"the environment variable {variable} is not set, or empty",
            code="password_missing",
            hint=f"`read -rs {variable} && export {variable}` sets it without showing it",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            f"the environment variable {variable} holds bytes that are no text in UTF-8",
            code="password_invalid",
            hint="set it in a UTF-8 locale",
        ) from None
    return SecretStr(value)
