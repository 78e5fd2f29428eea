"""The index behind the search over pages. What it holds is said in storage/search.py.

SQLite only, because FTS5 is its own. One that was built without FTS5 gets no index and no search: that is no reason
for the store not to open.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    if not op.get_bind().execute(sa.text("SELECT sqlite_compileoption_used('ENABLE_FTS5')")).scalar():
        return
    op.execute("CREATE VIRTUAL TABLE pages_text USING fts5(text, content='', tokenize='unicode61', detail=none)")


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE IF EXISTS pages_text")
