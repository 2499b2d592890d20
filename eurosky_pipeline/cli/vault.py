"""`eurosky vault`: keys for the credentials."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.output import json_option, moment, print_json, print_pairs, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eurosky_pipeline.registry.rotation import Rotated

EXIT_UNREADABLE = 3
_SHOWN = 20


@click.group()
def vault() -> None:
    """Keys that encrypt stored passwords."""


@vault.command("new-key")
def new_key() -> None:
    """Print a fresh key for EUROSKY_VAULT_KEY.

    To change keys, put the new one before the old one, separated by a comma: the first one encrypts, all decrypt. Then
    `eurosky vault rotate` encrypts anew what is stored, and the old one can go.
    """
    from eurosky_pipeline.registry.vault import new_key as make_key

    click.echo(make_key())


@vault.command()
@json_option
def status(*, is_json: bool) -> None:
    """How many passwords are stored, and which key opens them; never a password, never a key.

    \b
    Exit code: 0 all can be read · 3 some cannot be decrypted · 1 error
    """
    from eurosky_pipeline.registry.rotation import open_rotation
    from eurosky_pipeline.settings import load_settings

    rotation = open_rotation(load_settings())
    try:
        found = rotation.status()
    finally:
        rotation.close()
    rows: dict[str, Any] = {
        "credentials": found.newest + found.older + len(found.unreadable),
        "newest_key": found.newest,
        "older_keys": found.older,
        "unreadable": len(found.unreadable),
        "earliest_expiry": moment(found.earliest_expiry),
        "keys": found.key_count,
        "keys_from": _origin(is_in_file=found.is_key_in_file),
    }
    if is_json:
        print_json(rows | {"unreadable": _named(found.unreadable)})
    else:
        print_pairs("", [(name, value) for name, value in rows.items() if value is not None])
        _tell_unreadable(found.unreadable)
    if found.unreadable:
        sys.exit(EXIT_UNREADABLE)


@vault.command()
@click.option(
    "--drop-unreadable",
    is_flag=True,
    help="Delete the passwords that no key opens; `eurosky migrations retry` takes them anew.",
)
@json_option
def rotate(*, drop_unreadable: bool, is_json: bool) -> None:
    """Encrypt every stored password with the newest key. Migrations go on meanwhile.

    With EUROSKY_VAULT_KEY: put a new key before the old one (`eurosky vault new-key`), give every host and service the
    two, run this, then take the old one out. Without it a new key is made in the key file, and the old one is taken out
    once nothing needs it. Stopped half-way, run it again.

    \b
    Exit code: 0 the newest key opens all · 3 some cannot be decrypted, or others still use an older key · 1 error
    """
    from eurosky_pipeline.registry.rotation import open_rotation
    from eurosky_pipeline.settings import load_settings

    rotation = open_rotation(load_settings())
    try:
        done = rotation.rotate(is_dropping=drop_unreadable)
    finally:
        rotation.close()
    kept = () if drop_unreadable else done.unreadable
    if is_json:
        print_json(
            {
                "rotated": done.rotated,
                "unchanged": done.unchanged,
                "unreadable": _named(kept),
                "dropped": done.dropped,
                "older_left": done.older_left,
                "is_key_new": done.is_key_new,
                "keys": done.key_count,
                "keys_from": _origin(is_in_file=done.is_key_in_file),
            }
        )
    else:
        dropped = f", {done.dropped} deleted that no key opens" if drop_unreadable else ""
        click.echo(f"{done.rotated} rotated, {done.unchanged} had the newest key before{dropped}")
        _tell_unreadable(kept)
        tell(_next_step(done))
    if kept or done.older_left:
        sys.exit(EXIT_UNREADABLE)


def _next_step(done: Rotated) -> str:
    if done.older_left:
        return (
            f"{done.older_left} are sealed with an older key again: another host still seals with it; give it the new"
        )
    if done.is_key_in_file:
        went = "a new key is in the key file" if done.is_key_new else "an earlier rotation is ended"
        return f"{went}; the old one is gone" if done.key_count == 1 else f"{went}; the old one stays beside it"
    if done.key_count == 1:
        return "EUROSKY_VAULT_KEY holds one key; to change it, put a new one before it: `eurosky vault new-key`"
    return "every password that can be read has the newest key: the older ones can go out of EUROSKY_VAULT_KEY"


def _origin(*, is_in_file: bool) -> str:
    return "key file" if is_in_file else "EUROSKY_VAULT_KEY"


def _named(unreadable: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"token": token, "side": side} for token, side in unreadable]


def _tell_unreadable(unreadable: Sequence[tuple[str, str]]) -> None:
    for token, side in unreadable[:_SHOWN]:
        tell(f"the {side} password of {token} cannot be decrypted")
    if len(unreadable) > _SHOWN:
        tell(f"… and {len(unreadable) - _SHOWN} more; --json names them all")
    if unreadable:
        tell("restore their key, or delete them with `eurosky vault rotate --drop-unreadable`")
