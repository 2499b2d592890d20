"""`eurosky vault`: keys for the credentials."""

from __future__ import annotations

import click


@click.group()
def vault() -> None:
    """Keys that encrypt stored passwords."""


@vault.command("new-key")
def new_key() -> None:
    """Print a fresh key for EUROSKY_VAULT_KEY.

    To change keys, put the new one before the old one, separated by a comma: the first one encrypts, all decrypt.
    """
    from eurosky_pipeline.registry.vault import new_key as make_key

    click.echo(make_key())
