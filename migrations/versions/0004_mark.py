"""What cache marks have saved, and what keeping caches warm has cost and saved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DOLLARS = ("mark", "keepalive")


def upgrade() -> None:
    for name in DOLLARS:
        op.add_column("ledger", sa.Column(name, sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    for name in reversed(DOLLARS):
        op.drop_column("ledger", name)
