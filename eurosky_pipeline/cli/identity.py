"""`eurosky identity`: look an account up as a migration does, without moving anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.output import json_option, print_json, print_pairs

if TYPE_CHECKING:
    from eurosky_pipeline.identity.document import DocumentKey


@click.group()
def identity() -> None:
    """Who an account is: handle, DID, server and key."""


@identity.command()
@click.argument("name", metavar="HANDLE_OR_DID")
@click.option("--sandbox", "is_sandbox", is_flag=True, help="Ask the running sandbox and not the real network.")
@json_option
def resolve(name: str, *, is_sandbox: bool, is_json: bool) -> None:
    """Look a handle or a DID up, and check that handle and DID name each other.

    A handle that its DID does not claim is an error; a DID whose handle leads elsewhere is shown with the reason.
    """
    from dataclasses import asdict

    from eurosky_pipeline.errors import SettingsError
    from eurosky_pipeline.identity.account import identify
    from eurosky_pipeline.sandbox.directory import directory_for
    from eurosky_pipeline.sandbox.state import allowed_addresses, load_state
    from eurosky_pipeline.settings import load_settings
    from eurosky_pipeline.xrpc.client import new_http_client
    from eurosky_pipeline.xrpc.host_policy import HostPolicy

    settings = load_settings()
    sandbox = load_state(settings.home) if is_sandbox else None
    if is_sandbox and sandbox is None:
        raise SettingsError("there is no sandbox", code="sandbox_down", hint="`eurosky sandbox up` starts one")
    policy = HostPolicy(settings.is_private_hosts_allowed, allowed_addresses(settings.home))
    with new_http_client(1, policy) as http:
        directory = directory_for(settings, http, policy, sandbox.source_pds if sandbox else None)
        found = identify(directory, name.removeprefix("at://").removeprefix("@"))
    did_key = _did_key(found.signing_key)
    if is_json:
        print_json({**asdict(found), "did_key": did_key})
        return
    print_pairs(
        found.did,
        [
            ("handle", found.handle or "none"),
            ("verified", "both ways" if found.is_handle_verified else f"no: {found.doubt}"),
            ("server", found.pds_url or "none"),
            ("signing key", did_key or "none"),
        ],
    )


def _did_key(key: DocumentKey | None) -> str | None:
    """As `eurosky car verify --key` takes it; None if there is none, or none that can be used."""
    from eurosky_pipeline.atproto.keys import PublicKeyError, parse_document_key

    try:
        return parse_document_key(key.type, key.public_key_multibase).did_key if key else None
    except PublicKeyError:
        return None
