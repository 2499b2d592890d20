"""How much this installation has uploaded to a host: hosts limit uploads by the day, all migrations together."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from eurosky_pipeline.registry.ledger import Outcome
from eurosky_pipeline.registry.tables import blobs, migrations


def uploads_since(connection: Connection, destination_pds: str, since: datetime) -> int:
    """Blobs that were uploaded there since that moment, by the ledger; uploads that were refused are not counted."""
    query = (
        select(func.count())
        .select_from(blobs.join(migrations, blobs.c.token == migrations.c.token))
        .where(
            migrations.c.destination_pds == destination_pds,
            blobs.c.outcome == Outcome.TRANSFERRED,
            blobs.c.ended_at >= since,
        )
    )
    return connection.execute(query).scalar_one()
