"""What keeps a page, and pages stored as their difference to another.

Pages of before are held by the conversations whose splices name them: in `page`, in the anchors they need, or as a
handle in their text. Pages that none names are let go of as of now.

Down again only what an earlier version can read: deltas become plain, and what is encrypted must have been decrypted
(`mitmmu rekey --off`).
"""

from __future__ import annotations

import json
import re
import time

import sqlalchemy as sa
from alembic import op

from storage import codec

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Postgres would compare by the rules of a language
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
HANDLE = re.compile(r"\[mmu page ([a-z0-9-]+)")
HOLD = sa.text(
    "INSERT INTO holds (tenant, page, holder, until) VALUES (:tenant, :page, :holder, 0) ON CONFLICT DO NOTHING"
)
SPLICES = sa.text(
    "SELECT c.tenant, c.id, s.page, s.needs, s.text FROM splices s JOIN conversations c ON c.id = s.conversation"
)
LET_GO = sa.text(
    "INSERT INTO holds (tenant, page, holder, until) SELECT p.tenant, p.id, '', :now FROM pages p"
    " WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.tenant = p.tenant AND h.page = p.id)"
)
DELTAS = sa.text(
    "SELECT p.tenant, p.id, p.size, p.data, b.codec AS b_codec, b.size AS b_size, b.data AS b_data"
    " FROM pages p JOIN pages b ON b.tenant = p.tenant AND b.id = p.base WHERE p.base <> ''"
)


def upgrade() -> None:
    for name in ("base", "series"):
        op.add_column("pages", sa.Column(name, TEXT, nullable=False, server_default=""))
    alone, delta, ended = sa.text("series <> '' AND base = ''"), sa.text("base <> ''"), sa.text("until > 0")
    op.create_index("pages_base", "pages", ["tenant", "base"], sqlite_where=delta, postgresql_where=delta)
    op.create_index(
        "pages_series", "pages", ["tenant", "series", "created_at"], sqlite_where=alone, postgresql_where=alone
    )
    op.create_table(
        "holds",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("page", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "page", "holder"),
    )
    op.create_index("holds_holder", "holds", ["holder"])
    op.create_index("holds_until", "holds", ["until"], sqlite_where=ended, postgresql_where=ended)
    connection = op.get_bind()
    found = connection.execute(SPLICES)
    named: set[tuple[str, str, str]] = set()
    for tenant, id, page, needs, said in found:
        pages = {page, *(anchor.rpartition(":")[2] for anchor in json.loads(needs)), *HANDLE.findall(said or "")}
        named |= {(tenant, each, id) for each in pages - {""}}
    if named:
        rows = [{"tenant": tenant, "page": page, "holder": holder} for tenant, page, holder in sorted(named)]
        connection.execute(HOLD, rows)
    connection.execute(LET_GO, {"now": time.time()})


def downgrade() -> None:
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT 1 FROM pages WHERE codec LIKE '%+gcm:%' LIMIT 1")).first():
        raise RuntimeError("the store is encrypted, which no earlier version can read: `mitmmu rekey --off` first")
    for row in connection.execute(DELTAS).all():
        base = codec.unpack(row.b_codec, row.b_size, bytes(row.b_data))
        name, data = codec.pack(codec.unpack(codec.DELTA, row.size, bytes(row.data), base))
        connection.execute(
            sa.text("UPDATE pages SET codec = :codec, data = :data WHERE tenant = :tenant AND id = :id"),
            {"codec": name, "data": data, "tenant": row.tenant, "id": row.id},
        )
    op.drop_table("holds")
    op.drop_index("pages_series", "pages")
    op.drop_index("pages_base", "pages")
    # not in batch mode: it copies the table, and the search's index knows pages by their rowids
    op.execute("ALTER TABLE pages DROP COLUMN series")
    op.execute("ALTER TABLE pages DROP COLUMN base")
