"""What each blob took, and when a migration that waits may go on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("migrations", sa.Column("resume_at", MOMENT))
    with op.batch_alter_table("blobs") as table:
        table.add_column(sa.Column("attempts", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("bytes_moved", sa.BigInteger, nullable=False, server_default="0"))
        table.add_column(sa.Column("download_s", sa.Float, nullable=False, server_default="0"))
        table.add_column(sa.Column("upload_s", sa.Float, nullable=False, server_default="0"))
        table.add_column(sa.Column("error_class", sa.String(16), nullable=False, server_default=sa.text("''")))
        table.add_column(sa.Column("started_at", MOMENT))
        table.add_column(sa.Column("ended_at", MOMENT))
        table.drop_column("duration_s")
    for name in ("error_code", "error_text"):
        op.execute(sa.text(f"UPDATE blobs SET {name} = '' WHERE {name} IS NULL"))  # noqa: S608 - our own names
    with op.batch_alter_table("blobs") as table:
        table.alter_column("error_code", existing_type=sa.String(64), nullable=False, server_default=sa.text("''"))
        table.alter_column("error_text", existing_type=sa.Text, nullable=False, server_default=sa.text("''"))


def downgrade() -> None:
    with op.batch_alter_table("blobs") as table:
        table.add_column(sa.Column("duration_s", sa.Float, nullable=False, server_default="0"))
        for name in ("ended_at", "started_at", "error_class", "upload_s", "download_s", "bytes_moved", "attempts"):
            table.drop_column(name)
        table.alter_column("error_code", existing_type=sa.String(64), nullable=True, server_default=None)
        table.alter_column("error_text", existing_type=sa.Text, nullable=True, server_default=None)
    op.drop_column("migrations", "resume_at")
