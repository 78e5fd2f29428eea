"""The tables, and bringing a database up to them.

Plain rowid tables: compressed pages are mostly larger than what SQLite keeps inside a b-tree page, and WITHOUT ROWID
tables then waste half as much again. In `conversations` the long columns stand last, so that a scan over the short
ones does not walk their overflow pages.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    inspect,
    text,
)

from . import engine
from .errors import SchemaTooNew

if TYPE_CHECKING:
    from alembic.config import Config

metadata = MetaData()

_ESCAPE = "\x10"


class Words(TypeDecorator[str]):
    """Text of any characters.

    Postgres takes no NUL. There a NUL is written as DLE 0 and a DLE as DLE DLE, so that what is equal stays equal and
    what differs differs. A lone surrogate is an error on every database.
    """

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _escaped if dialect.name == "postgresql" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _unescaped if dialect.name == "postgresql" else None


def _escaped(value: str | None) -> str | None:
    if value is None or ("\0" not in value and _ESCAPE not in value):
        return value
    return value.replace(_ESCAPE, _ESCAPE * 2).replace("\0", f"{_ESCAPE}0")


def _unescaped(value: str | None) -> str | None:
    if value is None or _ESCAPE not in value:
        return value
    return re.sub(f"{_ESCAPE}(.)", lambda found: "\0" if found[1] == "0" else found[1], value, flags=re.DOTALL)


# a day's sums over all that many clients send may pass what four bytes hold
Count = Integer().with_variant(BigInteger(), "postgresql")

pages = Table(
    "pages",
    metadata,
    Column("tenant", Words, nullable=False),
    Column("id", Words, nullable=False),
    Column("codec", Words, nullable=False),
    Column("size", Integer, nullable=False),
    Column("kind", Words, nullable=False),
    Column("label", Words, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
    # the page that `data` is a difference to, "" where it stands for itself
    Column("base", Words, nullable=False, server_default=""),
    # the same for all pages of one kind and label of a tenant; "" where nobody has counted it among any
    Column("series", Words, nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
    Index("pages_base", "tenant", "base", sqlite_where=text("base <> ''"), postgresql_where=text("base <> ''")),
    Index(
        "pages_series",
        "tenant",
        "series",
        "created_at",
        sqlite_where=text("series <> '' AND base = ''"),
        postgresql_where=text("series <> '' AND base = ''"),
    ),
)

# what keeps a page: a conversation, by its id. `until` is 0 while it lives, and then when it ended, epoch seconds
holds = Table(
    "holds",
    metadata,
    Column("tenant", Words, nullable=False),
    Column("page", Words, nullable=False),
    Column("holder", Words, nullable=False),
    Column("until", Float, nullable=False),
    PrimaryKeyConstraint("tenant", "page", "holder"),
    Index("holds_holder", "holder"),
    Index("holds_until", "until", sqlite_where=text("until > 0"), postgresql_where=text("until > 0")),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Words, nullable=False),
    Column("tenant", Words, nullable=False),
    Column("head", Words, nullable=False),
    Column("session", Words, nullable=False),
    Column("project", Words, nullable=False),
    Column("client", Words, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("state", Words, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    PrimaryKeyConstraint("id"),
    Index("conversations_head", "tenant", "head"),
    Index("conversations_session", "tenant", "session"),
    Index("conversations_last_at", "last_at"),
)

splices = Table(
    "splices",
    metadata,
    Column("conversation", Words, nullable=False),
    Column("anchor", Words, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Words, nullable=False),
    Column("page", Words, nullable=False),
    Column("needs", Words, nullable=False),
    Column("spelling", Words, nullable=False),
    Column("request", Integer, nullable=False),
    Column("text", Words, nullable=True),
    PrimaryKeyConstraint("conversation", "anchor", "generation"),
)

facts = Table(
    "facts",
    metadata,
    Column("scope", Words, nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("scope", "key"),
)

# sums, to which every request adds: by what it cost, and by what it would have cost with nothing changed
COUNTS = ("requests", "unknown", "prompt_tokens", "saved_tokens")
FIRST_ACTIONS = ("fold", "evict", "collapse", "recall", "tool", "carried", "other")
MORE_ACTIONS = ("stub", "excerpt", "mark", "keepalive")
DOLLARS = ("billed", "untouched", *FIRST_ACTIONS, *MORE_ACTIONS)

ledger = Table(
    "ledger",
    metadata,
    Column("day", Words, nullable=False),
    Column("conversation", Words, nullable=False),
    Column("tenant", Words, nullable=False),
    Column("project", Words, nullable=False),
    *(Column(name, Count, nullable=False) for name in COUNTS),
    *(Column(name, Float, nullable=False) for name in ("billed", "untouched", *FIRST_ACTIONS)),
    *(Column(name, Float, nullable=False, server_default="0") for name in MORE_ACTIONS),
    PrimaryKeyConstraint("day", "conversation"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("tenant", Words, nullable=False),
    Column("scope", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("value", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("tenant", "scope", "name"),
)

# oldest first; the last one is what this code reads and writes
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")


def revision(connection: Connection) -> str | None:
    """The schema's revision, None for a database without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def due(connection: Connection) -> bool:
    """Whether an upgrade is due. SchemaTooNew when the database is ahead of this code."""
    found = revision(connection)
    if found is not None and found not in REVISIONS:
        raise SchemaTooNew(f"the store is at schema {found}, this version knows up to {REVISIONS[-1]}: update mitmmu")
    return found != REVISIONS[-1]


def config(connection: Connection) -> Config:
    """Alembic's configuration for a connection, with no file and from any working directory."""
    # a third of a second to import, and needed once in the life of a database
    from alembic.config import Config

    made = Config()
    # beside this package both in a checkout and where a wheel is installed; by path, because the working directory
    # may hold another package of that name
    folder = Path(__file__).resolve().parent.parent / "migrations"
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def upgrade(writer: Engine) -> None:
    """Bring the database to the last revision, in one transaction that is alone from its first step.

    Several processes may do so at once: the first does the work, the others wait and find nothing due.
    """
    with writer.begin() as connection:
        engine.alone(connection)
        if not due(connection):
            return
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports every step at a level users see
        from alembic import command

        command.upgrade(config(connection), "head")
