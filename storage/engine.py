"""The database behind the URL: a module for each, chosen by the URL's first word, and inserts that all of them take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from . import postgres, sqlite

# seconds
_PATIENCE = 10.0
_PAUSE = 0.1


class Database(Protocol):
    """What is peculiar to a database. Connections come from `reader` and `writer`, and raise what SQLAlchemy raises."""

    def checked(self, url: URL) -> URL:
        """The URL as SQLAlchemy is to have it; ValueError where it cannot be served, never with a password in it."""

    def prepare(self, url: URL) -> None:
        """Make what must be there before the first connection, and close it to others. OSError."""

    def size(self, url: URL) -> int | None:
        """Bytes on the disk; None where the database must be asked, with `measure`."""

    def reader(self, url: URL) -> Engine:
        """Connections that read, each statement for itself, and cannot write."""

    def writer(self, url: URL, wait: float) -> Engine:
        """Connections that write, and that wait for a lock `wait` seconds at most."""

    def alone(self, connection: Connection) -> None:
        """Hold off whoever else would change the schema, to the end of the transaction."""

    def lock(self, connection: Connection, names: Iterable[str]) -> None:
        """Hold off whoever else locks one of these names, to the end of the transaction. The first step of it, and
        the only one of its kind: names are taken in one order, so that no two wait for each other."""

    def hold_off(self, connection: Connection) -> None:
        """Hold off whoever else would write conversations or pages, to the end of the transaction. Its first step, for
        one that is about more names than `lock` takes."""

    def empty(self, connection: Connection, tables: Sequence[str]) -> None:
        """Delete all rows of these tables, and of what hangs on them, inside a transaction."""

    def tidy(self, connection: Connection) -> None:
        """What is better done while nobody waits, outside a transaction."""

    def measure(self, connection: Connection) -> int:
        """Bytes that the tables take."""

    def snapshot(self, connection: Connection) -> None:
        """Let a `reader`'s connection see from now on, until it is closed, what is there now."""

    def erasing(self, url: URL, wait: float) -> Engine:
        """A `writer` that overwrites what it deletes, where the database can."""

    def shrink(self, engine: Engine, pages: int) -> bool:
        """Give room of deleted rows back to the disk, `pages` of 4 KiB at most. Whether there is more."""

    def rewrite(self, engine: Engine) -> None:
        """Write everything anew, so that nothing is left on the disk but what is held, where that can be done here."""

    def empty_journal(self, engine: Engine) -> None:
        """Leave nothing in a journal that is no longer needed."""

    def busy(self, error: Exception) -> bool:
        """Whether another connection is in the way, so that trying again is all there is to do."""


DATABASES: Mapping[str, Database] = {"sqlite": sqlite, "postgresql": postgres, "postgres": postgres}


def parse(url: str) -> URL:
    """The URL of a store; ValueError says what is wrong with it, and shows no password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        shown = "this" if "@" in url else repr(url)
        raise ValueError(
            f"the store needs a URL, for example sqlite:////var/lib/mmu/mmu.db, and {shown} is none"
            " (in a password, / @ : and % are written %2F %40 %3A %25)"
        ) from None
    database = DATABASES.get(parsed.get_backend_name())
    if database is None:
        raise ValueError(
            f"the store speaks sqlite:///PATH and postgresql://USER@HOST/DATABASE; {parsed.drivername} is not supported"
        )
    return database.checked(parsed)


def shown(url: URL) -> str:
    """A URL for people: without the password, which may stand behind the `?` as well."""
    return url.set(query={}).render_as_string()


def _of(url: URL) -> Database:
    return DATABASES[url.get_backend_name()]


def _behind(connection: Connection) -> Database:
    return DATABASES[connection.dialect.name]


def prepare(url: URL) -> None:
    _of(url).prepare(url)


def size(url: URL) -> int | None:
    return _of(url).size(url)


def reader(url: URL) -> Engine:
    return _of(url).reader(url)


def writer(url: URL, wait: float) -> Engine:
    return _of(url).writer(url, wait)


def alone(connection: Connection) -> None:
    _behind(connection).alone(connection)


def lock(connection: Connection, names: Iterable[str]) -> None:
    _behind(connection).lock(connection, names)


def hold_off(connection: Connection) -> None:
    _behind(connection).hold_off(connection)


def empty(connection: Connection, tables: Sequence[str]) -> None:
    _behind(connection).empty(connection, tables)


def tidy(connection: Connection) -> None:
    _behind(connection).tidy(connection)


def measure(connection: Connection) -> int:
    return _behind(connection).measure(connection)


def snapshot(connection: Connection) -> None:
    _behind(connection).snapshot(connection)


def erasing(url: URL, wait: float) -> Engine:
    return _of(url).erasing(url, wait)


def shrink(engine: Engine, pages: int) -> bool:
    return DATABASES[engine.dialect.name].shrink(engine, pages)


def rewrite(engine: Engine) -> None:
    DATABASES[engine.dialect.name].rewrite(engine)


def empty_journal(engine: Engine) -> None:
    DATABASES[engine.dialect.name].empty_journal(engine)


def busy(error: Exception) -> bool:
    return sqlite.busy(error) or postgres.busy(error)


def transact[T](engine: Engine, run: Callable[[Connection], T]) -> T:
    """What `run` returns, in a transaction of its own; done again for some seconds where others are in the way."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with engine.begin() as connection:
                return run(connection)
        except DBAPIError as error:
            if not busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


# spelt by SQLAlchemy's dialect of Postgres; SQLite has taken the clause over as it is


def insert_or_ignore(table: Table) -> Insert:
    """An INSERT that leaves a row alone whose key is taken; its rowcount tells."""
    # otherwise lost together with the cursor, on some databases
    return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def insert_or_replace(table: Table) -> Insert:
    """An INSERT that brings a row whose key is taken up to the new values."""
    made = insert(table)
    key = [column.name for column in table.primary_key]
    rest = {column.name: made.excluded[column.name] for column in table.columns if column.name not in key}
    return made.on_conflict_do_update(index_elements=key, set_=rest)


def insert_or_add(table: Table, sums: Sequence[str], latest: Sequence[str] = ()) -> Insert:
    """An INSERT that, of a row whose key is taken, adds to the columns `sums` and renews those in `latest`."""
    made = insert(table)
    key = [column.name for column in table.primary_key]
    more = {name: table.columns[name] + made.excluded[name] for name in sums}
    new = {name: made.excluded[name] for name in latest}
    return made.on_conflict_do_update(index_elements=key, set_={**more, **new})
