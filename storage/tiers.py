"""The hierarchy of tiers, as the one object that the rest of the program talks to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from .cache import Cache, keys, touched
from .cold import Cold
from .crypt import NONE, Keys
from .news import News, Silence
from .records import JSON, Batch, Booking, Hit, Outcome, Page, Report, Stored
from .rows import BY
from .search import LIMIT, MOST
from .tallies import Snapshots, fit
from .warm import Gone, Process, Warm

MIB = 1024 * 1024
_CACHE_BYTES = 32 * MIB
_CLOSE_SECONDS = 5.0
_SHORTEST_PREFIX = 8

type Beside = Callable[[Process], Awaitable[tuple[Warm, News]]]
"""Puts something behind a warm tier in the process, and listens to others on the same store. Raises nothing."""


class Hierarchy:
    """Pages, splices, conversations and facts over the warm and the cold tier. To be used on one event loop.

    Reads raise StoreError when the database cannot answer, PageDamaged when a page cannot be had exactly.
    """

    def __init__(self, cold: Cold, warm: Warm, news: News) -> None:
        self._cold = cold
        self._warm = warm
        self._news = news
        self._cache = Cache(_CACHE_BYTES)
        self._snapshots = Snapshots()
        self._outcomes = dict.fromkeys(Outcome, 0)
        # raised when pages go, so that none is kept that was read before
        self._goings = 0
        self._news.hear(self._cache.forget, self._cache.clear, self._gone)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        beside: Beside | None = None,
        warm_bytes: int = 64 * MIB,
        clock: Callable[[], float] = time.time,
        keys: Keys = NONE,
    ) -> Hierarchy:
        """Open the store at a URL (sqlite:///PATH, postgresql://USER@HOST/DATABASE), making or upgrading it if need be.

        `beside` makes what is shared with other processes; without it the warm tier is one in the process, and
        nobody is told anything. `warm_bytes` bounds what is kept in the process, `clock` gives epoch seconds, `keys`
        seal what the database holds. ValueError for a URL that is not understood, SchemaTooNew for a database of a
        later version, KeyMissing for one that is sealed under another key, StoreError for one that cannot be opened.
        """
        cold = await asyncio.to_thread(Cold.open, url, clock, keys)
        front = Process(warm_bytes)
        return cls(cold, *(await beside(front) if beside is not None else (front, Silence())))

    @property
    def last_error(self) -> str:
        """What the database said when it last failed; "" if it never did."""
        return self._cold.writer.last_error

    async def conversations(self, tenant: str, head: str, session: str) -> tuple[Stored, ...]:
        """The tenant's conversations with this head, or with this session unless it is ""; newest first, 32 at most."""
        wanted = keys(tenant, head, session)
        cached = self._cache.get(wanted)
        if cached is not None:
            return cached
        reading = self._cache.begin(wanted)
        found: tuple[Stored, ...] | None = None
        try:
            found = await self._cold.conversations(tenant, head, session)
        finally:
            self._cache.finish(reading, found)
        return found

    async def commit(self, batch: Batch, timeout: float) -> Outcome:  # noqa: ASYNC109 - late is an outcome, no error
        """Make a batch durable, whole or not at all, within `timeout` seconds.

        STORED: it is. STALE: the conversation, or a sibling under the same head or session, is not as the caller has
        seen it; look it up again. LATE: not durable in time, and it never takes effect. FAILED: the store raised, see
        `last_error`. A page, or a splice at an anchor and generation, that is there already stays as it is.
        """
        record = batch.conversation
        known = self._cache.known(keys(record.tenant, record.head, record.session))
        goings = self._goings
        try:
            outcome, change = await self._cold.commit(batch, known, timeout)
        except asyncio.CancelledError:
            self._cache.drop(record)
            raise
        self._outcomes[outcome] += 1
        if change is None:
            self._cache.drop(record)
            return outcome
        self._cache.wrote(batch, change)
        self._news.tell(touched(change))
        if goings == self._goings:
            await self._warm.put(record.tenant, {page.id: page.text for page in batch.pages})
        return outcome

    async def page(self, tenant: str, id: str) -> bytes | None:
        """A page's exact bytes; None when this tenant has no such page."""
        text = await self._warm.get(tenant, id)
        if text is None:
            goings = self._goings
            text = await self._cold.page(tenant, id)
            if text is not None and goings == self._goings:
                await self._warm.put(tenant, {id: text})
        return text

    async def find(self, tenant: str, prefix: str) -> tuple[str, ...]:
        """Ids of the tenant's pages that begin so, sorted, 32 at most. ValueError below 8 characters."""
        if len(prefix) < _SHORTEST_PREFIX:
            raise ValueError(f"a page is not looked up by fewer than {_SHORTEST_PREFIX} characters")
        return await self._cold.find(tenant, prefix)

    async def page_of_any_tenant(self, id: str) -> Page | None:
        """The page of that id, whoever stored it; None when nobody did.

        For the owner of the store only, who can read its file anyway: never to serve a conversation.
        """
        return await self._cold.any_page(id)

    async def search(self, words: str, limit: int = LIMIT) -> tuple[Hit, ...]:
        """The newest pages of all tenants that hold every one of the words, after indexing what is not indexed yet.

        For the owner of the store only, as above. Words are letters and digits, case and accents do not matter, and
        nothing in them is syntax. ValueError when there is none, or for a limit outside 1 to 100.
        """
        if not 1 <= limit <= MOST:
            raise ValueError(f"a search finds 1 to {MOST} pages, not {limit}")
        return await self._cold.search(words, limit)

    async def totals(self) -> dict[str, int]:
        """What the store holds, all tenants together: pages, page_bytes (unpacked), conversations, store_bytes."""
        return await self._cold.totals()

    async def facts(self, scope: str) -> dict[str, JSON]:
        """All facts of a scope, those not yet written included."""
        return await self._cold.facts(scope)

    def learn(self, scope: str, key: str, value: JSON) -> None:
        """Note a fact. Written behind, so the last seconds of a killed process are lost; TypeError if not JSON."""
        self._cold.learn(scope, key, value)

    def report(self, report: Report) -> None:
        """Add to a conversation's state what was learned since it was stored. Written behind, though soon: the next
        request may come to another process."""
        self._cold.report(report)

    def book(self, booking: Booking) -> None:
        """Add to the ledger. Written behind, like facts."""
        self._cold.book(booking)

    async def ledger(self, *, since: str = "", by: str = "day") -> dict[str, dict[str, float]]:
        """The ledger's sums from a day (YYYY-MM-DD) on, of all tenants together, by "day", "project" or
        "conversation", in that order; what is not yet written included. ValueError for another word.

        For the owner of the store only. Sums are named in schema.COUNTS and schema.DOLLARS.
        """
        if by not in BY:
            raise ValueError(f"by={by}: expected one of {', '.join(BY)}")
        return await self._cold.ledger(since, by)

    def tally(self, tenant: str, scope: str, amounts: Mapping[str, float]) -> None:
        """Add to a scope's tallies, in one transaction. Written behind, like facts; ValueError for NUL, a lone
        surrogate or what is no finite number. How a scope fades is said in storage/tallies.py."""
        fit(tenant, scope, amounts)
        self._cold.tally(tenant, scope, amounts)
        self._snapshots.add((tenant, scope), amounts)

    async def tallies(self, tenant: str, scope: str) -> dict[str, float]:
        """A scope's tallies, all that this process has added included, and what others added up to a minute ago."""
        found = self._snapshots.get((tenant, scope))
        if found is None:
            found = await self._cold.tallies(tenant, scope)
            self._snapshots.put((tenant, scope), found)
        return found

    async def tidy(self, days: float) -> bool:
        """One small step of what `storage/retention.py` says: delete what has not been used for `days` (0: nothing
        expires) and give room back to the disk. Whether there is more to do; StoreError where others keep the lock."""
        swept = await self._cold.tidy(days)
        self._cache.gone(swept.ids)
        if swept.keys or swept.gone:
            gone = frozenset(swept.gone)
            self._goings += 1
            self._news.tell(frozenset(swept.keys), gone)
            await self._warm.delete(gone)
        return swept.more

    def _gone(self, gone: Gone) -> None:
        """Another process has deleted pages."""
        self._goings += 1
        self._warm.forget(gone)
        if gone is None:
            self._cache.clear()

    def stats(self) -> dict[str, int | float]:
        return {
            **self._cache.stats(),
            **self._warm.stats(),
            **self._news.stats(),
            **self._cold.stats(),
            "commits": self._outcomes[Outcome.STORED],
            **{each.value: self._outcomes[each] for each in (Outcome.STALE, Outcome.LATE, Outcome.FAILED)},
        }

    async def close(self) -> None:
        """Write what waits, facts and sums included, and stop; within 5 seconds, finished or not, and a few more where
        what is beside the store is slow to leave."""
        leaving = asyncio.ensure_future(self._leave())
        await asyncio.to_thread(self._cold.close, _CLOSE_SECONDS)
        await leaving

    async def _leave(self) -> None:
        await self._news.close()
        await self._warm.close()
