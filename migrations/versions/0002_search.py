"""The index behind the search over pages. What it holds is said in storage/search.py and storage/postgres_search.py.

An SQLite that was built without FTS5 gets no index and no search: that is no reason for the store not to open.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


TEXT = sa.Text(collation="C")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        if op.get_bind().execute(sa.text("SELECT sqlite_compileoption_used('ENABLE_FTS5')")).scalar():
            op.execute(
                "CREATE VIRTUAL TABLE pages_text USING fts5(text, content='', tokenize='unicode61', detail=none)"
            )
        return
    op.create_table(
        "pages_text",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("words", sa.ARRAY(TEXT), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
        sa.ForeignKeyConstraint(["tenant", "id"], ["pages.tenant", "pages.id"], ondelete="CASCADE"),
    )
    op.create_index("pages_text_words", "pages_text", ["words"], postgresql_using="gin")


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS pages_text")
