"""News by a channel of a Redis.

Messages are JSON: {"from": PROCESS, "keys": [[TENANT, "head" or "session", KEY], ...]}. Without keys, or where it
cannot be read, a message may be of anything: so a process that could not tell of a commit says as much with the next.
Pages that were deleted are told in messages of their own, with "gone": [[TENANT, ID], ...], or null for all of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from redis.exceptions import RedisError

from .cache import Key
from .redis_link import BUDGET, PATIENCE, Away, Client, Link, leave, listener
from .warm import Gone

logger = logging.getLogger(__name__)

QUIET = 10.0
"""Seconds without a message after which the connection is asked whether it still is one."""
SHORTEST, LONGEST = 0.25, 10.0
"""Seconds between attempts to listen."""

_MOST_WAITING = 1024
_MOST_GONE = 16_384
# pages in one message
_GONE = 512


class Channel:
    """News from and to the processes on the same Redis and namespace."""

    def __init__(self, link: Link, quiet: float = QUIET) -> None:
        self._link = link
        self._quiet = quiet
        self._name = f"{link.target.namespace}:written"
        self._self = secrets.token_hex(8)
        self._waiting: set[Key] = set()
        self._gone: Gone = frozenset()
        self._telling: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._untold = False
        self._told = 0
        self._heard = 0
        self._listening = False

    def hear(
        self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None], gone: Callable[[Gone], None]
    ) -> None:
        self._hearing = asyncio.ensure_future(self._hear(changed, lost, gone))

    def tell(self, keys: frozenset[Key], gone: Gone = frozenset()) -> None:
        whole = self._gone is None or gone is None or len(self._gone) > _MOST_GONE
        self._gone = None if whole else (self._gone or frozenset()) | (gone or frozenset())
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

    async def told(self) -> bool:
        """Wait until what there was to tell is told. Whether it is."""
        if self._telling is not None:
            await asyncio.wait((self._telling,))
        return not self._untold

    async def _tell(self) -> None:
        try:
            while self._waiting or self._gone != frozenset():
                if self._waiting:
                    keys, self._waiting = set() if self._untold else self._waiting, set()
                    self._untold = False
                    await self._publish({"keys": sorted(keys)})
                if self._gone != frozenset():
                    await self._publish_gone(self._gone)
        except Away:
            self._untold = True

    async def _publish_gone(self, gone: Gone) -> None:
        some = None if gone is None else frozenset(islice(gone, _GONE))
        await self._publish({"gone": None if some is None else sorted(some)})
        # others may have come in the meantime, or even all
        if some is None:
            self._gone = frozenset()
        elif self._gone is not None:
            self._gone -= some

    async def _publish(self, message: Mapping[str, object]) -> None:
        text = json.dumps({"from": self._self, **message})

        async def publish(client: Client) -> None:
            await client.publish(self._name, text)

        await self._link.call(publish)
        self._told += 1

    async def _hear(
        self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None], gone: Callable[[Gone], None]
    ) -> None:
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
                    match self._read(message):
                        case "changed", keys if keys:
                            self._heard += 1
                            changed(keys)
                        case "gone", pages:
                            self._heard += 1
                            gone(pages)
                        case "own", _:
                            pass
                        case _:
                            lost()
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

    def _read(self, message: bytes) -> tuple[str, Any]:
        """What a message is and says; "" for one that may be of anything."""
        try:
            read = json.loads(message)
            if read["from"] == self._self:
                return "own", None
            if "gone" in read:
                gone = read["gone"]
                return "gone", None if gone is None else frozenset((str(tenant), str(id)) for tenant, id in gone)
            return "changed", frozenset((str(tenant), str(kind), str(key)) for tenant, kind, key in read["keys"])
        except (ValueError, TypeError, KeyError):
            return "", None
