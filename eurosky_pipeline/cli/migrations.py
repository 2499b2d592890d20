"""`eurosky migrations`: the registry from the command line."""

from __future__ import annotations

import click

from eurosky_pipeline.cli.migrations_cancel import cancel
from eurosky_pipeline.cli.migrations_check import check
from eurosky_pipeline.cli.migrations_export import export
from eurosky_pipeline.cli.migrations_import import import_
from eurosky_pipeline.cli.migrations_list import list_
from eurosky_pipeline.cli.migrations_purge import purge
from eurosky_pipeline.cli.migrations_retry import retry
from eurosky_pipeline.cli.migrations_show import show
from eurosky_pipeline.cli.output import convert_option, json_option, print_json, tell
from eurosky_pipeline.cli.passwords import password_of


@click.group()
def migrations() -> None:
    """Register migrations and look at them."""


migrations.add_command(cancel)
migrations.add_command(check)
migrations.add_command(export)
migrations.add_command(import_)
migrations.add_command(list_)
migrations.add_command(purge)
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
    """Register one migration; `eurosky up` starts it by itself. Prints its token.

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


def _spelled(handle: str) -> str:
    """Without the @ of a mention, in lower case. Letters beyond ASCII, of which some become ASCII, are left as they are
    for the check."""
    name = handle.removeprefix("@")
    return name.lower() if name.isascii() else name
