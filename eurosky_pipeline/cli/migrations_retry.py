"""`eurosky migrations retry`: back to where it stopped."""

from __future__ import annotations

import click

from eurosky_pipeline.cli.output import convert_option, json_option, print_json, tell


@click.command()
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
