"""The way to a Redis: calls within a budget of time, behind a circuit breaker, and the probes that heal it.

Nothing depends on an answer. A call that fails, is late or is not made at all ends in `Away`, and while the breaker is
not closed it does so at once. Probes go out in the background and have more time than a call: they also make the
connection, which over TLS takes several round trips.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from .breaker import Breaker
from .redis_url import Target

logger = logging.getLogger(__name__)

BUDGET = 0.05
"""Seconds that a call may take."""
PATIENCE = 2.0
"""Seconds that a probe may take, and whatever makes a connection outside a call."""

_SLICES = 5

type Client = Any
"""redis.asyncio.Redis or RedisCluster: their types have no common one that names the commands."""


class Away(Exception):
    """There is no answer, and the caller goes on without."""


def client(target: Target) -> Client:
    """A client of the whole of what the URL names. Nothing is sent yet."""
    how = _how(target)
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return RedisCluster(startup_nodes=nodes, **how)
    if target.kind == "sentinel":
        sentinels = Sentinel(target.hosts, sentinel_kwargs=_transport(target), db=target.db, **how)
        return sentinels.master_for(target.service)
    return _single(target, 0)


def listener(target: Target, turn: int) -> Client:
    """A client to subscribe with. In a cluster every node passes every message on, so one of them will do: at each
    `turn` the next of those in the URL."""
    return _single(target, turn) if target.kind == "cluster" else client(target)


async def leave(client: Client) -> None:
    """Close what `client` and `listener` made, the ways to the sentinels included. Raises nothing."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in (client, *(manager.sentinels if manager is not None else ())):
        with suppress(RedisError, OSError):
            await asyncio.wait_for(each.aclose(), PATIENCE)


def _single(target: Target, turn: int) -> Client:
    if target.kind == "socket":
        return Redis(unix_socket_path=target.path, db=target.db, **_how(target))
    host, port = target.hosts[turn % len(target.hosts)]
    return Redis(host=host, port=port, db=target.db, **_how(target))


def _how(target: Target) -> dict[str, Any]:
    # one more try, at once: what lay in the pool when the server restarted is no connection any more
    retry = Retry(NoBackoff(), 1)
    # RESP2, which every server speaks
    login = {"username": target.username, "password": target.password, "protocol": 2, "retry": retry}
    return {**login, **_transport(target)}


def _transport(target: Target) -> dict[str, Any]:
    times: dict[str, Any] = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
    # said aloud, because older redis-py did not check the name
    return {**times, "ssl": True, "ssl_check_hostname": True, **dict(target.files)} if target.tls else times


class Link:
    """Calls to one Redis, on one event loop. `start` before the first."""

    def __init__(self, target: Target, budget: float = BUDGET, now: Callable[[], float] = time.monotonic) -> None:
        self.target = target
        self._client = client(target)
        self._budget = budget
        self._now = now
        self._breaker = Breaker()
        self._healing: asyncio.Task[None] | None = None
        self._probed = asyncio.Event()
        self._told = ""
        self._refusing = False
        self._late = 0
        self._errors = 0
        self._refused = 0
        self._skipped = 0

    @property
    def up(self) -> bool:
        return self._breaker.closed

    async def start(self) -> None:
        """Try to connect, once and for a second at most; after that it goes on in the background."""
        self._healing = asyncio.ensure_future(self._heal())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._probed.wait(), PATIENCE / 2)

    async def call[T](self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """What the Redis answers. Away when it does not within the budget."""
        if not self._breaker.closed:
            self._skipped += 1
            raise Away
        try:
            answer = await self._within(ask, self._budget)
        except ResponseError as error:
            # it is there and answers in time, so nothing is gained by not asking
            self._breaker.answered()
            if isinstance(error, OutOfMemoryError):
                self._refused += 1
            else:
                self._errors += 1
                self._tell_refusal(self._said(error))
            raise Away from error
        except TimeoutError as error:
            self._late += 1
            self._failed("it does not answer in time")
            raise Away from error
        except Exception as error:
            # whatever the client library raises, the caller goes on without
            self._errors += 1
            self._failed(self._said(error))
            raise Away from error
        self._breaker.answered()
        return answer

    def stats(self) -> dict[str, int]:
        return {
            "redis_breaker": int(self._breaker.state),
            "redis_late": self._late,
            "redis_errors": self._errors,
            "redis_refused": self._refused,
            "redis_skipped": self._skipped,
        }

    async def close(self) -> None:
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.wait((self._healing,))
        await leave(self._client)

    async def _within[T](self, ask: Callable[[Client], Awaitable[T]], seconds: float) -> T:
        """TimeoutError when it takes longer. Its end is then not waited for: a cancelled call closes its connection."""
        task = asyncio.ensure_future(ask(self._client))
        try:
            # in slices: while the loop itself is held up nothing can arrive, and however long that takes is one slice
            for _ in range(_SLICES):
                if not task.done():
                    await asyncio.wait((task,), timeout=seconds / _SLICES)
        except asyncio.CancelledError:
            _leave(task)
            raise
        if not task.done():
            _leave(task)
            raise TimeoutError
        return task.result()

    def _failed(self, why: str) -> None:
        if self._breaker.failed(self._now()):
            self._tell(why)
            self._healing = asyncio.ensure_future(self._heal())

    async def _heal(self) -> None:
        """Probe until there is an answer."""
        while not self._breaker.closed:
            now = self._now()
            if not self._breaker.probe(now):
                await asyncio.sleep(max(0.01, self._breaker.due - now))
                continue
            try:
                await self._within(lambda client: client.ping(), PATIENCE)
            except Exception as error:  # noqa: BLE001 - as above
                self._breaker.proved(False, self._now())
                self._tell(self._said(error))
            else:
                self._breaker.proved(True, self._now())
            self._probed.set()
        if self._told:
            logger.info("mitmmu: Redis at %s is back", self.target)
            self._told = ""

    def _tell(self, why: str) -> None:
        """Once for each time that it is away, and once more when it turns out that it will not come back by itself."""
        if self._told and not (why.startswith("it refuses") and not self._told.startswith("it refuses")):
            return
        self._told = why
        logger.warning("mitmmu: Redis at %s is not used for now, which loses nothing: %s", self.target, why)

    def _tell_refusal(self, why: str) -> None:
        """Once, for it will be the same with every call."""
        if not self._refusing:
            self._refusing = True
            logger.warning("mitmmu: Redis at %s is there, but not all that is wanted of it works: %s", self.target, why)

    def _said(self, error: Exception) -> str:
        # what follows quotes the call, and with it a page
        text = " ".join(str(error).partition(", with args")[0].split())[:200]
        if self.target.password:
            text = text.replace(self.target.password, "***")
        if isinstance(error, AuthenticationError | NoPermissionError):
            return f"it refuses the user or the password in mmu_redis, or what they may do ({text})"
        return text or "it does not answer"


def _leave(task: asyncio.Future[Any]) -> None:
    task.cancel()
    # nobody is left to hear how it ended
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
