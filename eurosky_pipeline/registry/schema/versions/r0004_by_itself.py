"""What runs by itself needs: who waits to be started, what is paused, and what has yet to be told to event sinks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("migrations", sa.Column("start_wanted_at", MOMENT))
    # the registered ones that nobody has begun wait to be started, as those that are registered from now on
    op.execute("UPDATE migrations SET start_wanted_at = created_at WHERE attempts = 0 AND state = 'pending_repo'")
    op.create_index("ix_migrations_start_wanted", "migrations", ["start_wanted_at", "token"])
    op.create_table(
        "controls",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("set_at", MOMENT, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("token", sa.String(32), sa.ForeignKey("migrations.token", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state_before", sa.String(32)),
        sa.Column("state_after", sa.String(32), nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_text", sa.Text),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.Column("happened_at", MOMENT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_token", "events", ["token"])
    op.create_table(
        "deliveries",
        sa.Column("event_id", sa.BigInteger, sa.ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sink", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_try_at", MOMENT),
        sa.Column("error_text", sa.Text, nullable=False, server_default=""),
        sa.Column("updated_at", MOMENT, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("events")
    op.drop_table("controls")
    op.drop_index("ix_migrations_start_wanted", "migrations")
    op.drop_column("migrations", "start_wanted_at")
