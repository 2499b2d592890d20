"""What an operator of many migrations needs: a history of attempts, a wish to cancel, and what was purged."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("migrations", sa.Column("cancel_requested_at", MOMENT))
    op.add_column("migrations", sa.Column("purged_at", MOMENT))
    op.create_index("ix_migrations_did", "migrations", ["did"])
    op.create_index("ix_migrations_created", "migrations", ["created_at", "token"])
    op.create_index("ix_credentials_expiry", "credentials", ["expires_at"])
    op.create_table(
        "attempts",
        sa.Column("token", sa.String(32), sa.ForeignKey("migrations.token", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("started_in", sa.String(32), nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_in", sa.String(32)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_text", sa.Text),
    )


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_index("ix_credentials_expiry", "credentials")
    op.drop_index("ix_migrations_created", "migrations")
    op.drop_index("ix_migrations_did", "migrations")
    op.drop_column("migrations", "purged_at")
    op.drop_column("migrations", "cancel_requested_at")
