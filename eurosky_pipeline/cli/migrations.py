"""`eurosky migrations`: the registry from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.migrations_cancel import cancel
from eurosky_pipeline.cli.migrations_check import check
from eurosky_pipeline.cli.migrations_retry import retry
from eurosky_pipeline.cli.migrations_rows import row
from eurosky_pipeline.cli.migrations_show import show
from eurosky_pipeline.cli.output import convert_option, json_option, moment, print_json, print_table, tell
from eurosky_pipeline.cli.passwords import password_of

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration


@click.group()
def migrations() -> None:
    """Register migrations and look at them."""


migrations.add_command(cancel)
migrations.add_command(check)
migrations.add_command(retry)
migrations.add_command(show)


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
    passwords = {Side.DESTINATION: password_of(destination_password_env)}
    if source_password_env:
        passwords[Side.SOURCE] = password_of(source_password_env)
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
        print_json([row(migration) for migration in found])
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


def _spelled(handle: str) -> str:
    """Without the @ of a mention, in lower case. Letters beyond ASCII, of which some become ASCII, are left as they are
    for the check."""
    name = handle.removeprefix("@")
    return name.lower() if name.isascii() else name


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
