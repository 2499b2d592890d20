"""Alembic's entry point: run the revisions on the connection that `database.upgrade` hands over."""

from alembic import context

from eurosky_pipeline.registry.database import VERSION_TABLE
from eurosky_pipeline.registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
