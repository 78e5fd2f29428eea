"""SQLite: opening the file, and its lock.

In WAL mode readers never wait for the writer nor the writer for readers. Every write transaction takes the
write lock at its BEGIN; one that reads first and upgrades later fails at once when another process writes in between,
whatever its timeout. synchronous=FULL, because what we call durable must outlive a loss of power.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError


def checked(url: URL) -> URL:
    """The URL of a file; ValueError for anything else. Several connections share it, so no `:memory:`."""
    if url.get_driver_name() != "pysqlite":
        raise ValueError(f"the store speaks sqlite:///PATH, not {url.drivername!r}")
    path = url.database or ""
    if path in ("", ":memory:") or path.startswith("file:"):
        raise ValueError(f"the store needs the path of a file, for example sqlite:////var/lib/mmu/mmu.db, not {path!r}")
    return url


def path(url: URL) -> Path:
    return Path(url.database or "")


def prepare(url: URL) -> None:
    """Make the file and its folder if they are missing, for their owner alone. OSError where that cannot be.

    The file is made before SQLite opens it: the journals beside it inherit its mode. A folder that is there already
    keeps its mode, for it may not be ours.
    """
    file = path(url)
    if not file.parent.exists():
        file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    # only ever a new one: closing a file that SQLite has open here as well would drop its locks, and with them commits
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for each in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        try:
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)
        except FileNotFoundError:
            # another process that leaves takes the journals with it
            continue


def size(url: URL) -> int:
    """The journal included."""
    total = 0
    for each in (path(url), Path(f"{path(url)}-wal")):
        try:
            total += each.stat().st_size
        except FileNotFoundError:
            continue
    return total


def reader(url: URL) -> Engine:
    """Connections that read, each statement for itself, and cannot write. They change nothing by being opened."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("PRAGMA query_only=ON")

    return engine


def writer(url: URL, wait: float) -> Engine:
    """Connections whose transactions hold the write lock from their BEGIN; `wait` seconds for it at most."""
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={int(wait * 1000)}")
        # both must be known before the first page is written, and turning to WAL writes it
        connection.execute("PRAGMA page_size=4096")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        # `tidy` is called long before; this is for when it is not
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _wal(connection: sqlite3.Connection) -> None:
    # two processes turning a new file to WAL at once: the loser is told so immediately, busy_timeout or not
    deadline = time.monotonic() + 5.0
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def alone(_: Connection) -> None:
    """Nothing to do: whoever has begun a transaction is alone."""


def lock(_: Connection, names: Iterable[str]) -> None:
    """Nothing to do, as above."""


def hold_off(_: Connection) -> None:
    """Nothing to do, as above."""


def empty(connection: Connection, tables: Sequence[str]) -> None:
    for table in tables:
        connection.exec_driver_sql(f"DELETE FROM {table}")


def tidy(connection: Connection) -> None:
    """Move the journal into the database, outside a transaction; what readers still need stays for the next time.

    Costs several syncs of the disk. Left to SQLite, it would be some commit that waits for them.
    """
    raw = connection.connection.dbapi_connection
    if raw is not None:
        raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()


def measure(connection: Connection) -> int:
    return size(connection.engine.url)


def snapshot(connection: Connection) -> None:
    """Let a `reader`'s connection see from now on, until it is closed, what is there now."""
    connection.exec_driver_sql("BEGIN")


def erasing(url: URL, wait: float) -> Engine:
    """A `writer` that overwrites what it deletes, which SQLite else leaves in the file until it needs the room."""
    engine = writer(url, wait)

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA secure_delete=ON")

    return engine


def shrink(engine: Engine, pages: int) -> bool:
    """Give room of deleted rows back to the disk, `pages` of 4 KiB at most. Whether there is more."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        before = cursor.execute("PRAGMA freelist_count").fetchone()[0]
        # each step of the statement frees one page
        cursor.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        # a file that was laid out otherwise gives nothing back
        return bool(0 < cursor.execute("PRAGMA freelist_count").fetchone()[0] < before)
    finally:
        raw.close()


def rewrite(engine: Engine) -> None:
    """Write the whole file anew, so that nothing is left in it but what it holds; the journal is emptied into it."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM")
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


def empty_journal(engine: Engine) -> None:
    """Move the journal into the database and cut it to nothing, as far as no reader needs it."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


def busy(error: Exception) -> bool:
    """Whether another connection holds the lock, so that trying again is all there is to do."""
    code = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlite_errorcode", 0)
    return int(code) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
