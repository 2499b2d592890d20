"""A migration as the results of `eurosky migrations` have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eurosky_pipeline.cli.output import moment

if TYPE_CHECKING:
    from eurosky_pipeline.registry.migration import Migration


def row(migration: Migration) -> dict[str, Any]:
    """What `list` and `show` have in common."""
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
