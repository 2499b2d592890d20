"""Migrations, credentials and the blob ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ACTIVE = sa.text("state NOT IN ('failed', 'cancelled', 'completed')")


def upgrade() -> None:
    op.create_table(
        "migrations",
        sa.Column("token", sa.String(32), primary_key=True),
        sa.Column("did", sa.Text, nullable=False),
        sa.Column("handle", sa.Text),
        sa.Column("source_pds", sa.Text, nullable=False),
        sa.Column("destination_pds", sa.Text, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("stopped_in", sa.String(32)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_text", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("convert_legacy_blobs", sa.Boolean),
        sa.Column("is_active_destination_allowed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("progress_data", sa.JSON, nullable=False),
        sa.Column("lease_holder", sa.Text),
        sa.Column("lease_expires_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )
    op.create_index(
        "ix_migrations_one_active_per_did",
        "migrations",
        ["did"],
        unique=True,
        sqlite_where=ACTIVE,
        postgresql_where=ACTIVE,
    )
    op.create_index("ix_migrations_state", "migrations", ["state"])
    op.create_table(
        "credentials",
        sa.Column("token", sa.String(32), sa.ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
        sa.Column("side", sa.String(16), primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("token", sa.String(32), sa.ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
        sa.Column("blob_cid", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_text", sa.Text),
        sa.Column("updated_at", MOMENT, nullable=False),
    )


def downgrade() -> None:
    for name in ("blobs", "credentials", "migrations"):
        op.drop_table(name)
