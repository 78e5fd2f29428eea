"""News by a channel of a Redis.

Messages are JSON: {"from": PROCESS, "keys": [[TENANT, "head" or "session", KEY], ...]}. Without keys, or where it
cannot be read, a message may be of anything: so a process that could not tell of a commit says as much with the next.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from .cache import Key
from .redis_link import BUDGET, PATIENCE, Away, Client, Link, leave, listener

logger = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds without a message after which the connection is asked whether it still is one."""
SHORTEST, LONGEST = 0.25, 10.0
"""Seconds between attempts to listen."""

_MOST_WAITING = 1024


class Channel:
    """News from and to the processes on the same Redis and namespace."""

    def __init__(self, link: Link, quiet: float = QUIET) -> None:
        self._link = link
        self._quiet = quiet
        self._name = f"{link.target.namespace}:written"
        self._self = secrets.token_hex(8)
        self._waiting: set[Key] = set()
        self._telling: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._untold = False
        self._told = 0
        self._heard = 0
        self._listening = False

    def hear(self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None]) -> None:
        self._hearing = asyncio.ensure_future(self._hear(changed, lost))

    def tell(self, keys: frozenset[Key]) -> None:
        if not self._link.up or len(self._waiting) > _MOST_WAITING:
            self._untold = True
            return
        self._waiting |= keys
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell())

    def stats(self) -> dict[str, int]:
        return {"news_told": self._told, "news_heard": self._heard, "news_listening": int(self._listening)}

    async def close(self) -> None:
        if self._telling is not None:
            await asyncio.wait((self._telling,), timeout=2 * BUDGET)
        for task in (self._telling, self._hearing):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,), timeout=PATIENCE)

    async def _tell(self) -> None:
        while self._waiting:
            keys, self._waiting = set() if self._untold else self._waiting, set()
            text = json.dumps({"from": self._self, "keys": sorted(keys)})
            self._untold = False
            try:
                await self._link.call(partial(self._publish, text=text))
            except Away:
                self._untold = True
                return
            self._told += 1

    async def _publish(self, client: Client, text: str) -> None:
        await client.publish(self._name, text)

    async def _hear(self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None]) -> None:
        pause, turn = SHORTEST, 0
        while True:
            client = listener(self._link.target, turn)
            turn += 1
            try:
                async for message in self._messages(client):
                    if message is None:
                        pause, self._listening = SHORTEST, True
                        lost()
                        continue
                    keys = self._keys(message)
                    if keys is None:
                        lost()
                    elif keys:
                        self._heard += 1
                        changed(keys)
            except (RedisError, OSError):
                logger.debug("mitmmu: the channel is lost", exc_info=True)  # the link to the same server says it aloud
            except Exception:
                logger.exception("mitmmu: the channel is lost")
            finally:
                self._listening = False
                await leave(client)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    async def _messages(self, client: Any) -> Any:
        """The messages; None each time that the subscription has begun. Raises what redis-py does, and ends when the
        connection has fallen silent."""
        async with client.pubsub() as ear:
            await ear.subscribe(self._name)
            asked = False
            while True:
                message = await ear.get_message(timeout=self._quiet)
                if message is None:
                    if asked:
                        return
                    asked = True
                    await ear.ping()
                    continue
                asked = False
                if message["type"] == "subscribe":
                    yield None
                elif message["type"] == "message":
                    yield message["data"]

    def _keys(self, message: bytes) -> frozenset[Key] | None:
        """Empty for a message of our own; None for one that may be of anything."""
        try:
            read = json.loads(message)
            if read["from"] == self._self:
                return frozenset()
            keys = frozenset((str(tenant), str(kind), str(key)) for tenant, kind, key in read["keys"])
        except (ValueError, TypeError, KeyError):
            return None
        return keys or None
