"""The cold tier: every page, splice and conversation, in SQL. Reads run on worker threads, writes on the one writer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from . import engine, pages, postgres_search, retention, rows, schema, sealing, search
from .crypt import NONE, OPTION, Keys
from .errors import StoreError
from .records import JSON, Batch, Booking, Hit, Outcome, Page, Report, Stored
from .tallies import added
from .writer import Writer, lost

# how long an upgrade waits for another process that is upgrading
_UPGRADE_SECONDS = 30.0
# how long one attempt at the write lock lasts; the writer looks up in between
_ATTEMPT_SECONDS = 0.25
# how long sums are on their way from the writer to the database
_MOVE_SECONDS = 0.005
_MOVES = 400
# a megabyte given back to the disk at once
_SHRINK_PAGES = 256
# how long a search waits for the write lock, for each batch of pages that it indexes
_INDEX_SECONDS = 5.0
_READERS = 8
# one that was lost and not merely slow
_AGAIN_SECONDS = 1.0


class Search(Protocol):
    """An index over pages: a module for each database."""

    def terms(self, words: str) -> tuple[str, ...]: ...
    def possible(self, connection: Connection) -> None: ...
    def index(self, reader: Engine, writer: Engine, stop: threading.Event) -> None: ...
    def find(self, connection: Connection, wanted: Sequence[str], limit: int) -> tuple[Hit, ...]: ...


_SEARCHES: Mapping[str, Search] = {"sqlite": search, "postgresql": postgres_search}


class Cold:
    """The SQL tier of one process. Made by `open`; every method raises StoreError when the database cannot answer."""

    def __init__(self, url: URL, reader: Engine, clock: Callable[[], float], keys: Keys) -> None:
        self._url = url
        self._keys = keys
        self._reader = reader.execution_options(**{OPTION: keys})
        self._writing = engine.writer(url, _ATTEMPT_SECONDS).execution_options(**{OPTION: keys})
        self._clock = clock
        self.writer = Writer(self._writing, clock, keys, self._earlier)
        self._indexing = engine.writer(url, _INDEX_SECONDS)
        self._closing = threading.Event()
        # of our own: names of hosts are looked up on the loop's, and must not wait for a database that does not answer
        self._threads = ThreadPoolExecutor(_READERS, "mitmmu-reader")
        self._hits = 0
        self._misses = 0

    @classmethod
    def open(cls, url: str, clock: Callable[[], float], keys: Keys = NONE) -> Cold:
        """Blocking. ValueError for a URL that is not understood, SchemaTooNew, KeyMissing, StoreError."""
        parsed = engine.parse(url)
        try:
            engine.prepare(parsed)
            reader = engine.reader(parsed)
            with reader.connect() as connection:
                due = schema.due(connection)
            if due:
                upgrading = engine.writer(parsed, _UPGRADE_SECONDS)
                schema.upgrade(upgrading)
                upgrading.dispose()
            engine.prepare(parsed)
            sealing.check(parsed, reader, keys, clock)
            made = cls(parsed, reader, clock, keys)
            with reader.connect() as connection:
                made.writer.bytes = engine.measure(connection)
            return made
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreError(f"the store cannot be opened: {error}") from error

    async def commit(
        self,
        batch: Batch,
        known: frozenset[str] | None,
        timeout: float,  # noqa: ASYNC109 - giving up must be told to the writer, a cancellation would not tell it
    ) -> tuple[Outcome, rows.Change | None]:
        """The outcome, and for STORED what was changed."""
        job = self.writer.submit(batch, known)
        try:
            done, _ = await asyncio.wait((job.done,), timeout=timeout)
        except asyncio.CancelledError:
            self.writer.withdraw(job)
            raise
        outcome = job.done.result() if done else self.writer.withdraw(job)
        return outcome, job.change if outcome is Outcome.STORED else None

    async def conversations(self, tenant: str, head: str, session: str) -> tuple[Stored, ...]:
        doubts = {change.after.id: change for change in self.writer.doubts()}
        found = await self._read(rows.matches, tenant, head, session)
        if not doubts:
            return found
        seen = (_without(stored, doubts.get(stored.conversation.id)) for stored in found)
        return tuple(sorted((stored for stored in seen if stored is not None), key=rows.order))

    async def page(self, tenant: str, id: str) -> bytes | None:
        text = await self._read(rows.page, tenant, id)
        if text is None:
            self._misses += 1
        else:
            self._hits += 1
        return text

    def _earlier(self, tenant: str, series: str) -> pages.Base | None:
        try:
            with self._reader.connect() as connection:
                return pages.newest(connection, self._keys, tenant, series)
        except (SQLAlchemyError, sqlite3.Error, StoreError):
            return None  # a page in full needs no other

    async def find(self, tenant: str, prefix: str) -> tuple[str, ...]:
        return await self._read(rows.prefixed, tenant, prefix)

    async def any_page(self, id: str) -> Page | None:
        return await self._read(rows.any_page, id)

    async def search(self, words: str, limit: int) -> tuple[Hit, ...]:
        if self._keys:
            raise StoreError("there is no search in an encrypted store: its index would hold every word in plain text")
        search = _SEARCHES[self._url.get_backend_name()]

        def run() -> tuple[Hit, ...]:
            wanted = search.terms(words)
            with self._reader.connect() as connection:
                search.possible(connection)
            search.index(self._reader, self._indexing, self._closing)
            with self._reader.connect() as connection:
                return search.find(connection, wanted, limit)

        try:
            return await self._aside(run)
        except (SQLAlchemyError, sqlite3.Error) as error:
            self.writer.last_error = str(error)
            raise StoreError(f"the store cannot be searched: {error}") from error

    async def totals(self) -> dict[str, int]:
        found = await self._read(rows.totals)
        self.writer.bytes = await self._read(engine.measure)
        return {**found, "store_bytes": self.writer.bytes}

    async def facts(self, scope: str) -> dict[str, JSON]:
        # asked first: what is flushed while we read is then told twice rather than not at all
        fresh = self.writer.unflushed(scope)
        return {**await self._read(rows.known_facts, scope), **fresh}

    def learn(self, scope: str, key: str, value: JSON) -> None:
        row: dict[str, object] = {"scope": scope, "key": key, "value": json.dumps(value), "updated_at": self._clock()}
        self.writer.learn(scope, key, value, row)

    def report(self, report: Report) -> None:
        self.writer.report(report)

    def book(self, booking: Booking) -> None:
        self.writer.book(booking)

    async def ledger(self, since: str, by: str) -> dict[str, dict[str, float]]:
        found, waiting = await self._with(self.writer.unbooked, rows.totals_by, by, since)
        for booking in waiting:
            if booking.day >= since:
                sums = found.setdefault(getattr(booking, by), dict.fromkeys(rows.SUMS, 0))
                for name, amount in booking.sums.items():
                    sums[name] += amount
        return dict(sorted(found.items()))

    def tally(self, tenant: str, scope: str, amounts: Mapping[str, float]) -> None:
        self.writer.tally((tenant, scope), amounts)

    async def tallies(self, tenant: str, scope: str) -> dict[str, float]:
        waiting = partial(self.writer.untallied, (tenant, scope))
        return added(*await self._with(waiting, rows.known_tallies, tenant, scope))

    async def tidy(self, days: float) -> retention.Swept:
        def run() -> retention.Swept:
            erasing = engine.erasing(self._url, _ATTEMPT_SECONDS).execution_options(**{OPTION: self._keys})
            try:
                with erasing.begin() as connection:
                    swept = retention.step(connection, self._clock(), days)
                swept.more |= engine.shrink(erasing, _SHRINK_PAGES)
                return swept
            finally:
                erasing.dispose()

        try:
            return await asyncio.to_thread(run)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"nothing could be tidied up: {error}") from error

    def stats(self) -> dict[str, int]:
        size = engine.size(self._url)
        return {
            "cold_bytes": self.writer.bytes if size is None else size,
            "cold_hits": self._hits,
            "cold_misses": self._misses,
            "transactions": self.writer.transactions,
            "undone": self.writer.undone,
            "queue": self.writer.waiting(),
            "unwritten": self.writer.unwritten(),
        }

    def close(self, timeout: float) -> None:
        """Blocking, `timeout` seconds at most."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.writer.stop(timeout)
        self._writing.dispose()
        self._indexing.dispose()
        self._reader.dispose()

    async def _with[**P, T, W](
        self,
        waiting: Callable[[], tuple[int, W]],
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[T, W]:
        """What the database holds, and what waits to be added to just that: nothing is on its way in between."""
        for _ in range(_MOVES):
            moves = waiting()[0]
            if moves % 2 == 0:
                found = await self._read(query, *args, **kwargs)
                after, left = waiting()
                if after == moves:
                    return found, left
            await asyncio.sleep(_MOVE_SECONDS)
        raise StoreError("sums are being written; ask again")

    async def _aside[T](self, run: Callable[[], T]) -> T:
        if self._closing.is_set():
            raise StoreError("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, _again, run)

    async def _read[**P, T](
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def run() -> T:
            with self._reader.connect() as connection:
                return query(connection, *args, **kwargs)

        try:
            return await self._aside(run)
        except (SQLAlchemyError, sqlite3.Error, ValueError) as error:
            self.writer.last_error = str(error)
            raise StoreError(f"the store cannot be read: {error}") from error


def _again[T](run: Callable[[], T]) -> T:
    """What `run` returns. A connection that lay idle may have gone in the meantime, so that it is tried once more."""
    began = time.monotonic()
    try:
        return run()
    except DBAPIError as error:
        if not lost(error) or time.monotonic() - began > _AGAIN_SECONDS:
            raise
        return run()


def _without(stored: Stored, change: rows.Change | None) -> Stored | None:
    """What stood before a change that is being taken back."""
    if change is None or stored.conversation.requests != change.after.requests:
        return stored
    if change.before is None:
        return None
    added = set(change.added)
    return Stored(change.before, tuple(one for one in stored.splices if (one.anchor, one.generation) not in added))
