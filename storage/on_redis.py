"""Everything that is shared on a Redis, over one link to it. Imports redis-py, which is an extra."""

from __future__ import annotations

import asyncio

from .cache import Key
from .crypt import NONE, Keys
from .news import News
from .news_redis import Channel
from .redis_link import BUDGET, PATIENCE, Link
from .redis_url import Target
from .tiers import Beside
from .warm import Gone, Process, Warm
from .warm_redis import DAY, Shared


def beside(target: Target, seconds: int = DAY, budget: float = BUDGET, keys: Keys = NONE) -> Beside:
    """What a Hierarchy opens beside its store. A page stays `seconds` in Redis after its last use, and a call may take
    `budget` seconds; `keys` seal it."""

    async def connect(front: Process) -> tuple[Warm, News]:
        link = Link(target, budget)
        await link.start()
        return Shared(link, front, seconds, keys), Channel(link)

    return connect


class Herald:
    """Tells proxies what a program beside them deletes, and takes it out of the Redis. Blocking, and for no event loop:
    it has one of its own."""

    def __init__(self, target: Target) -> None:
        self._runner = asyncio.Runner()
        self._warm, self._news = self._runner.run(_connected(target))
        self.certain = True
        """Whether so far all of it has left the Redis, and everything was told."""

    def tell(self, keys: frozenset[Key], pages: frozenset[tuple[str, str]], *, all: bool = False) -> None:
        """These conversations and pages are gone. `all`: nothing else was there."""
        self._runner.run(self._tell(keys, pages, None if all else pages))

    async def _tell(self, keys: frozenset[Key], pages: frozenset[tuple[str, str]], gone: Gone) -> None:
        self._news.tell(keys, gone)
        told, left = await self._news.told(), await self._warm.delete(pages)
        self.certain &= told and left

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self._news.close()
        await self._warm.close()


async def _connected(target: Target) -> tuple[Shared, Channel]:
    link = Link(target, PATIENCE)
    await link.start()
    return Shared(link, Process(0)), Channel(link)
