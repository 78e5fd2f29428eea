"""The warm tier on a Redis that several processes share, behind the one inside the process.

    MMU{TENANT:ID}:page   the page, packed, under a checksum; goes after its time to live, which every access renews
    MMU{TENANT:ID}:use    how often it was asked for, decayed, and when that was last counted; stays for a week longer

The braces are a hash tag: both keys lie in one slot of a cluster, and the server counts the access, renews both times
and hands out the page in one step. The page takes its count along into the process, where it decides how long it
stays. Accesses in the process are counted behind, a few seconds later; a page is never written behind.

What cannot be read back exactly is no page: it is counted, read from the cold tier, and put here anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.exceptions import NoScriptError

from .codec import pack, unpack
from .crypt import NONE, Keys, about
from .errors import KeyMissing, PageDamaged
from .redis_link import Away, Client, Link
from .warm import Gone, Process

DAY = 86_400
HALF_LIFE = 3 * DAY
"""Seconds after which an access counts half."""
BEHIND = 5.0
"""Seconds that counts of accesses may wait."""
LARGEST = 1024 * 1024
"""Packed bytes of a page; a larger one would not go through within the budget, and would count as a failure."""

_MOST_WAITING = 4096
_UNLINKED = 256
_GOODBYE = 1.0
_USES_STAY = 7 * DAY
_PLAIN, _SEALED = 1, 2
"""How a value begins; behind the second come the id of a key and all that the first begins, sealed."""
# version, codec, length of the text, then the digest
_HEAD = struct.Struct(">BBQ16s")
_CODECS = ("raw", "zstd")

# KEYS page, use; ARGV seconds of the page, seconds of the use, half-life, accesses, "1" to hand out the page
_TOUCH = """
local now = redis.call('TIME')
local at = now[1] + now[2] / 1000000
local held = redis.call('HMGET', KEYS[2], 'count', 'at')
local count, last = tonumber(held[1]) or 0, tonumber(held[2]) or at
count = count * 0.5 ^ (math.max(0, at - last) / ARGV[3]) + ARGV[4]
redis.call('HSET', KEYS[2], 'count', string.format('%.6f', count), 'at', string.format('%.3f', at))
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
local page = false
if ARGV[5] == '1' then page = redis.call('GET', KEYS[1]) end
return {string.format('%.6f', count), page}
"""
_SHA = hashlib.sha1(_TOUCH.encode(), usedforsecurity=False).hexdigest()


class Shared:
    """A warm tier in two: what this process holds, then what all of them do."""

    def __init__(self, link: Link, front: Process, seconds: int = DAY, keys: Keys = NONE) -> None:
        self._keys = keys
        self._link = link
        self._front = front
        self._seconds = seconds
        self._waiting: dict[tuple[str, str], int] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._hits = 0
        self._misses = 0
        self._damaged = 0

    async def get(self, tenant: str, id: str) -> bytes | None:
        text = await self._front.get(tenant, id)
        if text is not None:
            self._count(tenant, id)
            return text
        try:
            uses, held = await self._link.call(partial(self._touch, tenant=tenant, id=id, accesses=1, page=True))
        except Away:
            return None
        if held is not None:
            try:
                text = await asyncio.to_thread(_open, self._key(tenant, id), held, self._keys)
            except PageDamaged:
                self._damaged += 1
        if text is None:
            self._misses += 1
            return None
        self._hits += 1
        # this access is among them
        self._front.take_in(tenant, id, text, uses - 1)
        return text

    async def put(self, tenant: str, pages: Mapping[str, bytes]) -> None:
        await self._front.put(tenant, pages)
        if not pages or not self._link.up:
            return
        keys = {self._key(tenant, id): text for id, text in pages.items()}
        sealed = await asyncio.to_thread(lambda: [(key, _seal(key, text, self._keys)) for key, text in keys.items()])
        fitting = [(key, data) for key, data in sealed if len(data) <= LARGEST]

        async def send(client: Client) -> None:
            line = client.pipeline(transaction=False)
            for key, data in fitting:
                line.set(f"{key}:page", data, ex=self._seconds)
            # raised by the pipeline, an error would quote the page
            for answer in await line.execute(raise_on_error=False):
                if isinstance(answer, Exception):
                    raise answer

        if fitting:
            with suppress(Away):
                await self._link.call(send)

    def forget(self, gone: Gone) -> None:
        self._front.forget(gone)
        waiting = self._waiting
        self._waiting = {} if gone is None else {key: n for key, n in waiting.items() if key not in gone}

    async def delete(self, gone: Gone) -> bool:
        """Of those in Redis only what is named; `None` is for the process."""
        self.forget(gone)
        keys = [f"{self._key(tenant, id)}:{what}" for tenant, id in sorted(gone or ()) for what in ("page", "use")]

        async def send(client: Client, some: Sequence[str]) -> None:
            line = client.pipeline(transaction=False)
            for key in some:
                line.execute_command("UNLINK", key)
            await line.execute()

        try:
            for start in range(0, len(keys), _UNLINKED):
                await self._link.call(partial(send, some=keys[start : start + _UNLINKED]))
        except Away:
            return False
        return gone is not None

    def stats(self) -> dict[str, int]:
        own = {"redis_hits": self._hits, "redis_misses": self._misses, "redis_damaged": self._damaged}
        return {**self._front.stats(), **self._link.stats(), **own}

    async def flush(self) -> None:
        """Count the accesses that wait. What the Redis does not take is lost: they are hints."""
        waiting, self._waiting = self._waiting, {}
        for (tenant, id), accesses in waiting.items():
            try:
                await self._link.call(partial(self._touch, tenant=tenant, id=id, accesses=accesses))
            except Away:
                return

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), _GOODBYE)
        await self._link.close()

    def _count(self, tenant: str, id: str) -> None:
        key = (tenant, id)
        if key in self._waiting or len(self._waiting) < _MOST_WAITING:
            self._waiting[key] = self._waiting.get(key, 0) + 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.ensure_future(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(BEHIND)
        await self.flush()

    async def _touch(
        self, client: Client, *, tenant: str, id: str, accesses: int, page: bool = False
    ) -> tuple[float, bytes | None]:
        """The decayed count with these accesses in it, and the page where it is wanted and there."""
        key = self._key(tenant, id)
        given = (f"{key}:page", f"{key}:use", self._seconds, self._seconds + _USES_STAY, HALF_LIFE, accesses, int(page))
        try:
            answer: Any = await client.evalsha(_SHA, 2, *given)
        except NoScriptError:
            answer = await client.eval(_TOUCH, 2, *given)
        return float(answer[0]), answer[1]

    def _key(self, tenant: str, id: str) -> str:
        # with its length in front, no tenant and id together look like another two
        return f"{self._link.target.namespace}{{{len(tenant)}:{tenant}:{id}}}"


def _digest(key: str, text: bytes) -> bytes:
    # over the key as well: a value under the key of another page is damage too
    return hashlib.blake2b(key.encode() + b"\0" + text, digest_size=16).digest()


def _seal(key: str, text: bytes, keys: Keys = NONE) -> bytes:
    codec, data = pack(text)
    packed = _HEAD.pack(_PLAIN, _CODECS.index(codec), len(text), _digest(key, text)) + data
    if not keys:
        return packed
    return bytes([_SEALED]) + keys.first.encode() + keys.seal(packed, about("redis", key))


def _open(key: str, data: bytes, keys: Keys = NONE) -> bytes:
    """PageDamaged for anything but what `_seal` made for this key, with the same keys or others of the store's."""
    if data[:1] == bytes([_SEALED]):
        end = 1 + len(keys.first)
        try:
            data = keys.open(data[1:end].decode("ascii", "replace"), data[end:], about("redis", key))
        except KeyMissing:
            raise PageDamaged("a page in Redis is sealed under a key that is not given") from None
    elif keys:
        raise PageDamaged("a page in Redis is from before there was a key")
    if len(data) < _HEAD.size:
        raise PageDamaged("a page in Redis is cut off")
    version, codec, size, digest = _HEAD.unpack_from(data)
    if version != _PLAIN or codec >= len(_CODECS):
        raise PageDamaged("a page in Redis is of another version")
    text = unpack(_CODECS[codec], size, data[_HEAD.size :])
    if _digest(key, text) != digest:
        raise PageDamaged("a page in Redis is not what was put there")
    return text
