"""The one thread that writes.

Batches wait in a queue and are committed together, so that a burst pays for one sync of the disk. When a transaction
fails, each of its batches is tried alone and the bad one fails by itself.

A caller may give up on a batch at any moment, and then the batch must never take effect, for the request has left
without it. Before COMMIT that is easy: the phase changes under a lock, and a transaction with a withdrawn batch is
rolled back and done again without it. While COMMIT is under way nothing can stop it, so it is taken back afterwards,
before anything else is written, and readers are told to overlook it in the meantime (`doubts`). The same is done when
COMMIT itself fails, for then it is not certain that nothing reached the disk. What remains is a kill, or another
process that reads, between such a COMMIT and its undoing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from zstandard import ZstdError

from . import pages, rows
from .crypt import NONE, Keys
from .engine import busy, measure, tidy
from .errors import StoreError
from .records import JSON, Batch, Booking, Outcome, Report
from .tallies import Key, added

logger = logging.getLogger(__name__)

# batches in one transaction at most, so that other processes get their turn
GROUP = 64
FLUSH_SECONDS = 2.0
# what the next request of a conversation builds on, in whichever process it comes
REPORT_SECONDS = 0.1
_RETRY_SECONDS = 0.25
_OURS = 4096
# a megabyte or two of journal, a quarter of what a commit would have to move by itself
_CHECKPOINT_TRANSACTIONS = 64
_CHECKPOINT_BYTES = 2 * 1024 * 1024

# what a store that is down raises, or a batch that cannot be written
_TROUBLE = (SQLAlchemyError, sqlite3.Error, ZstdError, OSError, ValueError, TypeError, OverflowError, StoreError)


def lost(error: Exception) -> bool:
    """Whether it is the connection that failed, and not what was asked over it."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


class Job:
    """A batch on its way. `outcome` is final once set; it and `committing` are guarded by the writer's lock."""

    def __init__(self, batch: Batch, known: frozenset[str] | None) -> None:
        self.batch = batch
        self.known = known
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Outcome] = self.loop.create_future()
        self.committing = False
        self.outcome: Outcome | None = None
        self.change: rows.Change | None = None
        self.packed: Sequence[Mapping[str, object]] | None = None
        # bytes of page text
        self.size = sum(len(page.text) for page in batch.pages)


class Writer:
    """Owns the write connection and its thread. All but `stop` return at once; `clock` gives epoch seconds."""

    def __init__(
        self, engine: Engine, clock: Callable[[], float], keys: Keys = NONE, earlier: pages.Earlier = lambda *_: None
    ) -> None:
        """`earlier` finds what a page may be stored as a difference to; it is called on the writer's thread."""
        self._engine = engine
        self._keys = keys
        self._earlier = earlier
        self._clock = clock
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._current: list[Job] = []
        self._doubts: list[rows.Change] = []
        self._facts: dict[tuple[str, str], tuple[JSON, dict[str, object]]] = {}
        self._reports: dict[str, Report] = {}
        self._bookings: dict[tuple[str, str], Booking] = {}
        self._tallies: dict[Key, dict[str, float]] = {}
        # raised when sums go from here to the database, and again when they have gone: odd in between
        self._moves = 0
        self._flush_at: float | None = None
        self._closing = False
        self._abandoned = False
        # conversations begun by this process lately: a planner here was shown them or is about to be
        self._ours: dict[str, None] = {}
        self._journal = (0, 0)
        self.last_error = ""
        self.transactions = 0
        self.undone = 0
        # what the database took when it was last measured
        self.bytes = 0
        self._thread = threading.Thread(target=self._run, name="mitmmu-writer", daemon=True)
        self._thread.start()

    # for the callers

    def submit(self, batch: Batch, known: frozenset[str] | None) -> Job:
        """Queue a batch; called on a running loop. `known`: ids of the siblings its planner was shown, if recorded."""
        job = Job(batch, known)
        with self._wake:
            if self._closing:
                self.last_error = "the store is closed"
                job.outcome = Outcome.FAILED
                job.done.set_result(Outcome.FAILED)
            else:
                self._queue.append(job)
                self._wake.notify()
        return job

    def withdraw(self, job: Job) -> Outcome:
        """Give a job up: LATE, or what became of it if that was certain already."""
        with self._lock:
            return self._give_up(job)

    def learn(self, scope: str, key: str, value: JSON, row: dict[str, object]) -> None:
        """Write a fact within FLUSH_SECONDS or so; until then `unflushed` tells it."""
        with self._wake:
            self._facts[scope, key] = (value, row)
            self._flush_soon()

    def report(self, report: Report) -> None:
        """Add to a conversation's state within REPORT_SECONDS or so. The newest for a conversation holds."""
        with self._wake:
            self._reports[report.conversation.id] = report
            self._flush_soon(REPORT_SECONDS)

    def book(self, booking: Booking) -> None:
        """Add to the ledger within FLUSH_SECONDS or so; until then `unbooked` tells it."""
        key = booking.day, booking.conversation
        with self._wake:
            self._bookings[key] = _added(self._bookings.get(key), booking)
            self._flush_soon()

    def tally(self, key: Key, amounts: Mapping[str, float]) -> None:
        """Add to tallies within FLUSH_SECONDS or so; until then `untallied` tells it."""
        with self._wake:
            self._tallies[key] = added(self._tallies.get(key, {}), amounts)
            self._flush_soon()

    def unbooked(self) -> tuple[int, list[Booking]]:
        """What was booked and is not yet written. What is read from the database before and after the same even number
        lacks exactly that."""
        with self._lock:
            return self._moves, list(self._bookings.values())

    def untallied(self, key: Key) -> tuple[int, dict[str, float]]:
        """The same of a scope's tallies."""
        with self._lock:
            return self._moves, dict(self._tallies.get(key, {}))

    def unflushed(self, scope: str) -> dict[str, JSON]:
        with self._lock:
            return {key: value for (its, key), (value, _) in self._facts.items() if its == scope}

    def doubts(self) -> list[rows.Change]:
        """Changes that may stand in the database and must be overlooked."""
        with self._lock:
            return list(self._doubts)

    def unwritten(self) -> int:
        """Facts, sums and reports that are not yet in the database."""
        with self._lock:
            return len(self._reports) + len(self._facts) + len(self._bookings) + len(self._tallies)

    def waiting(self) -> int:
        return len(self._queue) + sum(job.outcome is None for job in self._current)

    def stop(self, timeout: float) -> bool:
        """Finish what waits, flush facts and sums, end the thread; False when `timeout` seconds were not enough."""
        with self._wake:
            self._closing = True
            self._flush_at = time.monotonic() if self._unwritten() else None
            self._wake.notify()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            return True
        with self._wake:
            self._abandoned = True
            for job in (*self._queue, *self._current):
                self._answer(job, self._give_up(job))
            self._queue.clear()
            self._wake.notify()
        return False

    # with the lock held

    def _unwritten(self) -> bool:
        return bool(self._reports or self._facts or self._bookings or self._tallies)

    def _flush_soon(self, seconds: float | None = None) -> None:
        due = time.monotonic() + (FLUSH_SECONDS if seconds is None else seconds)
        if self._flush_at is None or due < self._flush_at:
            self._flush_at = due
            self._wake.notify()

    def _give_up(self, job: Job) -> Outcome:
        if job.outcome is None:
            job.outcome = Outcome.LATE
            if job.committing and job.change is not None:
                self._doubts.append(job.change)
        return job.outcome

    def _answer(self, job: Job, outcome: Outcome) -> None:
        if job.outcome is None:
            job.outcome = outcome
        final = job.outcome

        def tell() -> None:
            if not job.done.done():
                job.done.set_result(final)

        # a loop that is closed has nobody left to tell
        with suppress(RuntimeError):
            job.loop.call_soon_threadsafe(tell)

    # on the thread

    def _run(self) -> None:
        while self._next():
            try:
                if self._doubts and not self._take_back():
                    continue
                self._commit(self._current)
                self._flush()
                self._tidy()
            except Exception as error:
                logger.exception("the store's writer met an error it does not know")
                self._rollback(error)
                self._retract([job for job in self._current if job.committing])
                self._fail(self._current, error)
            finally:
                self._current = []
        if self._doubts:
            self._take_back()
        self._hang_up()

    def _next(self) -> bool:
        """Wait for work and take it; False when there is none left and none will come."""
        with self._wake:
            while not self._abandoned:
                if self._doubts:
                    # what could not be taken back a moment ago goes before all else
                    self._wake.wait(_RETRY_SECONDS)
                    return not self._abandoned
                if self._queue:
                    self._current = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
                    return True
                if self._closing and not self._unwritten():
                    return False
                left = None if self._flush_at is None else self._flush_at - time.monotonic()
                if left is not None and left <= 0:
                    return True
                self._wake.wait(left)
            return False

    def _commit(self, group: Sequence[Job]) -> None:
        """Store a group and answer each of its jobs."""
        self._pack(group)
        fresh = False
        while jobs := [job for job in group if job.outcome is None]:
            claimed = False
            try:
                connection, transaction = self._begin()
                rows.lock(connection, [job.batch.conversation for job in jobs])
                for job in jobs:
                    self._write(connection, job)
                self._shelve(connection, [job for job in jobs if job.change is not None])
                claimed = self._claim(jobs)
                if not claimed:
                    transaction.rollback()
                    continue
                transaction.commit()
            except _TROUBLE as error:
                self._rollback(error)
                self.last_error = str(error)
                if claimed and not self._retract(jobs):
                    self._fail(jobs, error)
                elif busy(error):
                    # another process is writing; how long to wait for it is for the callers to say
                    continue
                elif lost(error) and not fresh:
                    # the connection may have gone long ago; nothing has been written over it
                    fresh = True
                    continue
                elif len(jobs) == 1:
                    self._fail(jobs, error)
                else:
                    for job in jobs:
                        if self._doubts:
                            self._fail([job], error)
                        else:
                            self._commit([job])
                return
            self._stored(jobs)
        if self._doubts:
            self._take_back()

    def _pack(self, group: Sequence[Job]) -> None:
        now = self._clock()
        for job in group:
            try:
                if job.outcome is None and job.packed is None:
                    job.packed = pages.batch(job.batch.pages, now, self._keys, self._earlier)
            except _TROUBLE as error:
                self._fail([job], error)

    def _write(self, connection: Connection, job: Job) -> None:
        known = job.known
        shown = None if known is None else (lambda id: id in known or id in self._ours)
        job.change = rows.write(connection, job.batch, shown, known or ())
        if job.change is not None and job.change.before is None:
            self._ours[job.change.after.id] = None
            if len(self._ours) > _OURS:
                del self._ours[next(iter(self._ours))]

    def _shelve(self, connection: Connection, jobs: Sequence[Job]) -> None:
        texts = {(page.tenant, page.id): page for job in jobs for page in job.batch.pages}
        packed = [row for job in jobs for row in job.packed or ()]
        pages.put(connection, packed, lambda *key: pages.row(texts[key], self._clock(), self._keys))

    def _claim(self, jobs: Sequence[Job]) -> bool:
        """The last moment to give up: from here on a job's change is on its way to the disk."""
        with self._lock:
            if any(job.outcome is not None for job in jobs):
                return False
            for job in jobs:
                job.committing = True
            return True

    def _stored(self, jobs: Sequence[Job]) -> None:
        self.transactions += 1
        transactions, size = self._journal
        self._journal = (transactions + 1, size + sum(job.size for job in jobs))
        with self._lock:
            for job in jobs:
                job.committing = False
                self._answer(job, Outcome.STALE if job.change is None else Outcome.STORED)

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        self.last_error = str(error)
        with self._lock:
            for job in jobs:
                self._answer(job, Outcome.FAILED)

    def _retract(self, jobs: Sequence[Job]) -> bool:
        """After a COMMIT that failed: make sure that nothing of it stands."""
        with self._lock:
            for job in jobs:
                job.committing = False
                if job.change is not None and job.change not in self._doubts:
                    self._doubts.append(job.change)
        return self._take_back()

    def _take_back(self) -> bool:
        doubts = self.doubts()
        try:
            connection, transaction = self._begin()
            rows.lock(connection, [change.after for change in doubts])
            for change in doubts:
                rows.take_back(connection, change, self._clock())
            transaction.commit()
        except _TROUBLE as error:
            self._rollback(error)
            self.last_error = str(error)
            return False
        with self._lock:
            self._doubts = [change for change in self._doubts if change not in doubts]
        self.undone += len(doubts)
        return True

    def _flush(self) -> None:
        with self._lock:
            if self._flush_at is None or self._flush_at > time.monotonic():
                return
            facts, reports = dict(self._facts), dict(self._reports)
            # added to by others, so it goes as it is now, and what comes meanwhile is another
            booked, self._bookings = self._bookings, {}
            tallied, self._tallies = self._tallies, {}
            self._moves += 1
        try:
            connection, transaction = self._begin()
            if reports:
                rows.report(connection, list(reports.values()))
            if facts:
                rows.learn(connection, [row for _, row in facts.values()])
            if booked:
                rows.book(connection, list(booked.values()))
            if tallied:
                rows.tally(connection, tallied, self._clock())
            transaction.commit()
        except _TROUBLE as error:
            self._rollback(error)
            self.last_error = str(error)
            with self._lock:
                # a COMMIT that failed has hardly ever reached the disk, so counting twice is the rarer mistake
                for key, booking in booked.items():
                    self._bookings[key] = _added(self._bookings.get(key), booking)
                for scope, amounts in tallied.items():
                    self._tallies[scope] = added(self._tallies.get(scope, {}), amounts)
                self._moves += 1
                self._flush_at = time.monotonic() + _RETRY_SECONDS
            return
        with self._lock:
            self._moves += 1
            for key, fact in facts.items():
                # one learned again in the meantime goes with the next flush
                if self._facts[key] is fact:
                    del self._facts[key]
            for id, told in reports.items():
                if self._reports[id] is told:
                    del self._reports[id]
            self._flush_at = time.monotonic() + FLUSH_SECONDS if self._unwritten() else None

    def _tidy(self) -> None:
        """What is better done while nobody waits."""
        transactions, size = self._journal
        if self._queue or self._connection is None:
            return
        if transactions >= _CHECKPOINT_TRANSACTIONS or size >= _CHECKPOINT_BYTES:
            try:
                tidy(self._connection)
                self.bytes = measure(self._connection)
                self._connection.rollback()
            except _TROUBLE as error:
                self._rollback(error)
                self.last_error = str(error)
            self._journal = (0, 0)

    def _begin(self) -> tuple[Connection, RootTransaction]:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection, self._connection.begin()

    def _rollback(self, error: Exception) -> None:
        """Leave a transaction that failed. After anything but a busy lock the connection is not trusted either."""
        if self._connection is None:
            return
        with suppress(*_TROUBLE):
            transaction = self._connection.get_transaction()
            if transaction is not None:
                transaction.rollback()
        if not busy(error):
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(*_TROUBLE):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None


def _added(held: Booking | None, more: Booking) -> Booking:
    if held is None:
        return more
    return replace(held, sums={name: held.sums[name] + amount for name, amount in more.sums.items()})
