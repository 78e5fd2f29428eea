"""Postgres: several machines may share it.

Where SQLite has one lock for all, here each writer locks the names of the conversations, heads and sessions that its
batches are about, all at once and in one order, before it looks at any of them: two that are about the same line go
one after the other, and the second sees what the first has done. Others pass each other. The locks are advisory, go
with the transaction, and are what makes a COMMIT of which no answer came certain again: whoever holds them after it
knows that it is over, one way or the other.

A server may be gone without a word. So nothing waits for it without end: the server itself is told to give up on a
statement, on a lock, and on a client that does not go on with its transaction; and the client, should no word come
back from the server, closes the connection a little later.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    import psycopg

# seconds
_CONNECT = 3
_READ = 5.0
_WRITE = 10.0
# how much later the client gives up than the server is told to
_GRACE = 2.0
# a client that has died holds its locks no longer than that
_IDLE = 10
# the name of the lock over the schema
_SCHEMA = "schema"

# serialization_failure, deadlock_detected, lock_not_available
_BUSY = frozenset({"40001", "40P01", "55P03"})

_TCP: dict[str, Any] = {
    "connect_timeout": _CONNECT,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "client_encoding": "utf8",
    "application_name": "mitmmu",
}
_ALWAYS = f"""
SET idle_in_transaction_session_timeout = '{_IDLE}s';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
"""
# a plan that was made once for all parameters, while a table was nearly empty, stays until the server next counts its
# rows: a minute in which reads walk all that a tenant has. To make one takes a tenth of a millisecond
_ANEW = "SET plan_cache_mode = force_custom_plan;"
# what we call durable must outlive a loss of power; an administrator who asks for more than that gets it
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');
"""

_LOCK = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
_TABLES = ("pages", "holds", "pages_text", "conversations", "splices", "facts", "ledger", "tallies")
_MEASURE = text(
    "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0) FROM unnest(CAST(:names AS text[])) AS name"
)


def checked(url: URL) -> URL:
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ValueError(f"the store speaks postgresql://USER@HOST/DATABASE, not {url.drivername!r}")
    if not url.database:
        raise ValueError("the store needs the name of a database: postgresql://USER@HOST/DATABASE")
    try:
        import psycopg  # noqa: F401 - is it there?
    except ImportError:
        raise ValueError(
            "a store on Postgres needs psycopg: .venv/bin/python -m pip install 'psycopg[binary]>=3.2'"
        ) from None
    return url.set(drivername="postgresql+psycopg")


def prepare(_: URL) -> None:
    """Nothing to do: the database is made by whoever gives out the URL."""


def size(_: URL) -> int | None:
    return None


def reader(url: URL) -> Engine:
    return _engine(url, _READ, "AUTOCOMMIT", f"SET default_transaction_read_only = on; {_ANEW}")


def writer(url: URL, wait: float) -> Engine:
    return _engine(url, wait + _WRITE, "READ COMMITTED", f"SET lock_timeout = {int(wait * 1000)}; {_DURABLE}")


def _engine(url: URL, patience: float, isolation: Any, settings: str) -> Engine:
    # parameters are what pages hold, and have no business in a message
    engine = create_engine(url, hide_parameters=True, isolation_level=isolation, pool_timeout=_READ, pool_use_lifo=True)

    @event.listens_for(engine, "do_connect")
    def connecting(_dialect: Any, _record: Any, args: Any, options: dict[str, Any]) -> psycopg.Connection[Any]:
        made: psycopg.Connection[Any] = _bounded().connect(*args, **{**_TCP, **options})
        made.patience = patience + _GRACE  # type: ignore[attr-defined]
        return made

    @event.listens_for(engine, "connect")
    def connected(connection: psycopg.Connection[Any], _: Any) -> None:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise ValueError("the store needs a database whose encoding is UTF8")
        connection.execute(f"SET statement_timeout = {int(patience * 1000)}; {_ALWAYS} {settings}".encode())
        connection.commit()

    return engine


@cache
def _bounded() -> Any:
    """The connection of psycopg, with an end to its patience. Made when first needed: psycopg is an extra."""
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        patience = _CONNECT + _GRACE

        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            return super().wait(self._until(gen, time.monotonic() + self.patience), *args, **kwargs)

        def _until(self, gen: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
            # psycopg resumes what it waits for ten times a second, whether or not anything came
            try:
                wanted = next(gen)
                while True:
                    ready = yield wanted
                    wanted = gen.send(ready) or wanted
                    if time.monotonic() > deadline:
                        self.pgconn.finish()
                        raise psycopg.OperationalError("the server does not answer")
            except StopIteration as end:
                return end.value

    return Bounded


def alone(connection: Connection) -> None:
    lock(connection, [_SCHEMA])


def lock(connection: Connection, names: Iterable[str]) -> None:
    connection.execute(_LOCK, {"keys": sorted({_key(name) for name in names})})


def hold_off(connection: Connection) -> None:
    # locks of tables, for the server has room for some thousand advisory ones; who reads does not wait
    connection.exec_driver_sql("LOCK TABLE conversations, holds, splices, pages IN EXCLUSIVE MODE")


def empty(connection: Connection, tables: Sequence[str]) -> None:
    # nothing of what was in them is left in their files, and it takes no longer for many rows
    connection.exec_driver_sql(f"TRUNCATE {', '.join(tables)} CASCADE")


def _key(name: str) -> int:
    digest = hashlib.blake2b(f"mitmmu/{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def tidy(_: Connection) -> None:
    """Nothing to do: the server looks after itself."""


def measure(connection: Connection) -> int:
    return int(connection.execute(_MEASURE, {"names": list(_TABLES)}).scalar_one())


def snapshot(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")


erasing = writer


def shrink(_engine: Engine, _pages: int) -> bool:
    """Nothing to do: room is given to other rows, and back to the disk by VACUUM FULL alone."""
    return False


def rewrite(_: Engine) -> None:
    """Nothing that could be done beside others: VACUUM FULL is for whoever looks after the server."""


def empty_journal(_: Engine) -> None:
    """Nothing to do: the server looks after its own."""


def busy(error: Exception) -> bool:
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) in _BUSY
