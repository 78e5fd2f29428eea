"""What requests cost, and what they would have cost: sums by day and conversation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Postgres would compare by the rules of a language
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNT = sa.Integer().with_variant(sa.BigInteger(), "postgresql")

COUNTS = ("requests", "unknown", "prompt_tokens", "saved_tokens")
DOLLARS = ("billed", "untouched", "fold", "evict", "collapse", "recall", "tool", "carried", "other")


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("day", TEXT, nullable=False),
        sa.Column("conversation", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        *(sa.Column(name, COUNT, nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.Float, nullable=False) for name in DOLLARS),
        sa.PrimaryKeyConstraint("day", "conversation"),
    )


def downgrade() -> None:
    op.drop_table("ledger")
