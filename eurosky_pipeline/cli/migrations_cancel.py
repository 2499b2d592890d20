"""`eurosky migrations cancel`: giving migrations up."""

from __future__ import annotations

import click

from eurosky_pipeline.cli.output import json_option, print_json, tell


@click.command()
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
