"""Records with as little to say as a test needs, and a look at the database past the store."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from storage.records import JSON, Batch, Conversation, Page, Splice
from storage.tiers import Hierarchy
from tests.harness import postgres

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable


# URLs of the stores that lie in no folder
ELSEWHERE: dict[Path, str] = {}


def url(folder: Path) -> str:
    return ELSEWHERE.get(folder) or f"sqlite:///{file(folder)}"


def file(folder: Path) -> Path:
    return folder / "home" / "mitmmu.db"


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Hierarchy]:
    store = await Hierarchy.open(url(folder), **options)
    try:
        yield store
    finally:
        await store.close()


def conversation(
    id: str = "c1",
    requests: int = 1,
    *,
    tenant: str = "t",
    head: str = "h",
    session: str = "s",
    last_at: float | None = None,
    state: Mapping[str, JSON] | None = None,
) -> Conversation:
    return Conversation(
        id=id,
        tenant=tenant,
        head=head,
        session=session,
        project="project",
        client="client",
        requests=requests,
        digests=bytes(range(8)) * requests,
        last_at=1000.0 + requests if last_at is None else last_at,
        state={"requests": requests} if state is None else state,
    )


def page(text: bytes = b"some text", tenant: str = "t") -> Page:
    return Page(tenant, hashlib.blake2b(text, digest_size=16).hexdigest(), text, "read", "src/app.py")


def splice(anchor: str = "toolu_1", request: int = 1, generation: int = 0, text: str | None = "[gone]") -> Splice:
    return Splice(anchor, generation, "replace", "", text, (), request)


def batch(
    record: Conversation | None = None,
    expected: int | None = None,
    pages: Iterable[Page] = (),
    splices: Iterable[Splice] = (),
) -> Batch:
    record = record or conversation()
    return Batch(record, record.requests - 1 if expected is None else expected, tuple(pages), tuple(splices))


def rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(connected(folder)) as connection:
        found: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
        connection.commit()
        return found


def change(folder: Path, statement: str, *values: object) -> int:
    """Run a statement past the store, in SQLite's spelling with a `?` for each of `values`; how many rows it met."""
    if folder in ELSEWHERE:
        statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement).replace("AS BLOB", "AS BYTEA")
        statement = statement.replace("?", "%s")
    with closing(connected(folder)) as connection:
        met = int(connection.execute(statement, values).rowcount)
        connection.commit()
        return met


def on_disk(folder: Path) -> bytes:
    """The files of a store; what all its tables hold where it has none of its own."""
    if folder not in ELSEWHERE:
        return b"".join(each.read_bytes() for each in sorted(file(folder).parent.iterdir()))
    tables = rows(folder, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    values = (value for (table,) in tables for row in rows(folder, f"SELECT * FROM {table}") for value in row)
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


def stored(folder: Path) -> bool:
    """Whether there is a store."""
    if folder in ELSEWHERE:
        return bool(rows(folder, "SELECT 1 FROM pg_tables WHERE schemaname = current_schema()"))
    return file(folder).exists()


def locked(folder: Path) -> Any:
    """A connection that nobody can write beside until it is rolled back or closed."""
    connection = connected(folder)
    if folder in ELSEWHERE:
        connection.execute("LOCK TABLE pages, conversations, splices, facts, ledger, tallies IN EXCLUSIVE MODE")
    else:
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
    return connection


def connected(folder: Path) -> Any:
    if folder in ELSEWHERE:
        return postgres.connect(ELSEWHERE[folder])
    return sqlite3.connect(file(folder), check_same_thread=False)
