"""`eurosky sandbox`: a network of one's own to try things on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.output import Command, json_option, print_json, print_pairs, print_table, tell

if TYPE_CHECKING:
    from eurosky_pipeline.sandbox.state import SandboxState


def damaged_blobs_option(command: Command) -> Command:
    """How many blobs of a seeded account shall be such as a migration cannot have."""
    return click.option(
        "--damaged-blobs",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="So many of the blobs are spoilt on the source: by turns lost, corrupt, taken down.",
    )(command)


@click.group()
def sandbox() -> None:
    """A PLC directory and two real PDSes on this machine.

    They listen on loopback only, keep their accounts in EUROSKY_HOME over restarts, and end with `down`.
    """


@sandbox.command()
@click.option("--rate-limits/--no-rate-limits", default=None, help="The PDSes' own rate limits; off in a new sandbox.")
@json_option
def up(*, rate_limits: bool | None, is_json: bool) -> None:
    """Start the servers, or leave them running; returns when all three answer.

    The first start on a machine installs their npm packages into the user's cache (about a minute).
    """
    from eurosky_pipeline.sandbox.network import up as start
    from eurosky_pipeline.settings import load_settings

    state = start(load_settings().home, report=tell, rate_limits=rate_limits)
    _print_state(state, is_json=is_json)


@sandbox.command()
@click.option("--erase", is_flag=True, help="Also delete the sandbox's accounts, secrets and logs.")
def down(*, erase: bool) -> None:
    """Stop the servers, and leave no process behind. Their accounts stay for the next start."""
    from eurosky_pipeline.sandbox.network import down as stop
    from eurosky_pipeline.settings import load_settings

    stopped = stop(load_settings().home, report=tell, erase=erase)
    tell(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    if erase:
        tell("erased: its accounts, secrets and logs")


@sandbox.command()
@json_option
def status(*, is_json: bool) -> None:
    """Each server: where it is, whether it runs and answers, and where its log is. Exit code 1 if one does not."""
    from eurosky_pipeline.sandbox.network import status as look
    from eurosky_pipeline.settings import load_settings

    servers = look(load_settings().home)
    rows = [(s.name, s.title, s.url, s.pid or "", s.is_healthy, s.log_path) for s in servers]
    header = ["name", "server", "url", "pid", "healthy", "log"]
    if is_json:
        print_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        print_table(header, rows)
    if not servers or not all(server.is_healthy for server in servers):
        tell("the sandbox is not up; `eurosky sandbox up` starts it")
        raise SystemExit(1)


@sandbox.command()
def env() -> None:
    """Print the sandbox's addresses for a shell: eval "$(eurosky sandbox env)"."""
    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.sandbox.state import is_running, load_state
    from eurosky_pipeline.settings import load_settings

    settings = load_settings()
    state = load_state(settings.home)
    if state is None or not is_running(state):
        raise SettingsError("the sandbox is not up", code="sandbox_down", hint="`eurosky sandbox up` starts it")
    variables = {
        "EUROSKY_HOME": settings.home,
        "SANDBOX_PLC_URL": state.plc_url,
        "SANDBOX_SOURCE_PDS": state.source_pds,
        "SANDBOX_DESTINATION_PDS": state.destination_pds,
    }
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(str(value))}")


@sandbox.command()
@click.option("--records", default=300, show_default=True, help="Records in all: posts, replies, likes, follows …")
@click.option("--blobs", default=60, show_default=True, help="Distinct blobs, one of them over 5 MB.")
@click.option("--blob-bytes", default=200_000, show_default=True, help="Mean size of a blob.")
@click.option("--legacy", default=0, show_default=True, help="Further records with blob references from before 2023.")
@damaged_blobs_option
@json_option
def seed(records: int, blobs: int, blob_bytes: int, legacy: int, damaged_blobs: int, *, is_json: bool) -> None:
    """Make an account with records and blobs on the source, and the same one, deactivated, on the destination.

    Prints what `migrations add` needs; the passwords are of throw-away accounts.

    With --damaged-blobs it is an account as old servers have them: some of its blobs cannot be had, and the result says
    which and how. They are by turns lost (the file is gone), corrupt (a byte of it has changed) and taken down by the
    server's admin. A migration names them as missing_at_source, corrupt_at_source (after four downloads, with 2, 4 and
    8 s between them) and missing_at_source again, since this PDS tells nobody that a blob was taken down; all others
    arrive, and the exit code of `migrate` is 3.
    """
    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.sandbox.seed import seed as make_account
    from eurosky_pipeline.sandbox.state import is_running, load_state
    from eurosky_pipeline.settings import load_settings

    state = load_state(load_settings().home)
    if state is None or not is_running(state):
        raise SettingsError("the sandbox is not up", code="sandbox_down", hint="`eurosky sandbox up` starts it")
    account = make_account(
        state,
        records=records,
        blobs=blobs,
        blob_bytes=blob_bytes,
        legacy=legacy,
        damaged_blobs=damaged_blobs,
        report=tell,
    )
    result: dict[str, object] = {
        "did": account.did,
        "handle": account.handle,
        "source_pds": account.source_pds,
        "destination_pds": account.destination_pds,
        "source_password": account.source_password,
        "destination_password": account.destination_password,
        "plc_url": account.plc_url,
    }
    damaged = [(str(blob.blob_cid), str(blob.damage), blob.mime_type, blob.size_bytes) for blob in account.damaged]
    header = ["blob_cid", "damage", "mime_type", "size_bytes"]
    if is_json:
        named = [dict(zip(header, row, strict=True)) for row in damaged]
        print_json({**result, **({"damaged_blobs": named} if named else {})})
    else:
        print_pairs("", result.items())
        if damaged:
            print_table(header, damaged)
        tell("To move it:")
        tell(f"  export SEED_PASSWORD='{account.destination_password}'")
        tell(
            f"  eurosky migrations add --did {account.did} --handle {account.handle} "
            f"--source-pds {account.source_pds} --destination-pds {account.destination_pds} "
            "--destination-password-env SEED_PASSWORD"
        )


def _print_state(state: SandboxState, *, is_json: bool) -> None:
    addresses = {
        "plc_url": state.plc_url,
        "source_pds": state.source_pds,
        "destination_pds": state.destination_pds,
    }
    if is_json:
        print_json(addresses)
    else:
        print_pairs("", addresses.items())
