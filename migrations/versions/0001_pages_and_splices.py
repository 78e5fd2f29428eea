"""Pages, conversations, splices and facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Postgres would compare by the rules of a language
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pages",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("codec", TEXT, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
    )
    op.create_table(
        "conversations",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("head", TEXT, nullable=False),
        sa.Column("session", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("conversations_head", "conversations", ["tenant", "head"])
    op.create_index("conversations_session", "conversations", ["tenant", "session"])
    op.create_index("conversations_last_at", "conversations", ["last_at"])
    op.create_table(
        "splices",
        sa.Column("conversation", TEXT, nullable=False),
        sa.Column("anchor", TEXT, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("page", TEXT, nullable=False),
        sa.Column("needs", TEXT, nullable=False),
        sa.Column("spelling", TEXT, nullable=False),
        sa.Column("request", sa.Integer, nullable=False),
        sa.Column("text", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("conversation", "anchor", "generation"),
    )
    op.create_table(
        "facts",
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )


def downgrade() -> None:
    for table in ("facts", "splices", "conversations", "pages"):
        op.drop_table(table)
