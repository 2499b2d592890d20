"""`eurosky migrations show`: all that is known of one migration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eurosky_pipeline.cli.migrations_rows import row
from eurosky_pipeline.cli.output import json_option, print_json, print_pairs

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration


@click.command()
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
        print_json(row(migration) | _details(migration))
        return
    details = _details(migration)
    progress = details.pop("progress_data")
    error = details.pop("error") or {}
    rows = {**row(migration), **details, **{f"error {k}": v for k, v in error.items()}, **progress}
    print_pairs(token, [(name, value) for name, value in rows.items() if value is not None])


def _details(migration: Migration) -> dict[str, Any]:
    has_error = migration.error_code is not None
    return {
        "stopped_in": migration.stopped_in,
        "attempts": migration.attempts,
        "convert_legacy_blobs": migration.convert_legacy_blobs,
        "error": {"code": migration.error_code, "text": migration.error_text} if has_error else None,
        "progress_data": migration.progress_data,
    }
