"""More actions that make a difference to a bill."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACTIONS = ("stub", "excerpt", "mark", "keepalive")


def upgrade() -> None:
    for name in ACTIONS:
        op.add_column("ledger", sa.Column(name, sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("ledger") as table:
        for name in ACTIONS:
            table.drop_column(name)
