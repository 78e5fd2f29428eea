"""The warm tier: pages left lately, ready without a read from the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .greedydual import GreedyDual

type Gone = frozenset[tuple[str, str]] | None
"""Pages that were deleted, by tenant and id; None for all of them."""


class Warm(Protocol):
    """A bounded place for pages. Losing one is never an error: the cold tier has them all. Nothing here raises."""

    async def get(self, tenant: str, id: str) -> bytes | None: ...

    async def put(self, tenant: str, pages: Mapping[str, bytes]) -> None:
        """Keep pages of one tenant, texts by id, as far as they fit."""

    def forget(self, gone: Gone) -> None:
        """Keep these no longer in the process."""

    async def delete(self, gone: Gone) -> bool:
        """Keep these no longer anywhere that `get` would find them. Whether it is certain that they are not there."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None: ...


class Process:
    """A warm tier inside the process, within a budget of bytes; what goes first is said in greedydual.py."""

    # what an entry costs beside its text: two key strings, tuples, its place in the order
    OVERHEAD = 600

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._pages: dict[tuple[str, str], bytes] = {}
        self._order: GreedyDual[tuple[str, str]] = GreedyDual()
        self._hits = 0
        self._misses = 0
        self._aged = 0

    async def get(self, tenant: str, id: str) -> bytes | None:
        text = self._pages.get((tenant, id))
        if text is None:
            self._misses += 1
            return None
        self._hits += 1
        self._order.use((tenant, id))
        return text

    async def put(self, tenant: str, pages: Mapping[str, bytes]) -> None:
        for id, text in pages.items():
            self.take_in(tenant, id, text)

    def take_in(self, tenant: str, id: str, text: bytes, uses: float = 0.0) -> None:
        """Keep a page that was asked for `uses` times elsewhere."""
        key, size = (tenant, id), len(text) + self.OVERHEAD
        old = self._pages.get(key)
        if size > self._budget:
            if old is not None:
                self._order.drop(key)
                self._remove(key)
            return
        if old is not None:
            self._bytes -= len(old) + self.OVERHEAD
        self._pages[key] = text
        self._bytes += size
        self._order.add(key, size, uses)
        while self._bytes > self._budget:
            self._remove(self._order.evict())
            self._aged += 1

    def forget(self, gone: Gone) -> None:
        for key in list(self._pages) if gone is None else gone & self._pages.keys():
            self._order.drop(key)
            self._remove(key)

    async def delete(self, gone: Gone) -> bool:
        self.forget(gone)
        return True

    def _remove(self, key: tuple[str, str]) -> None:
        self._bytes -= len(self._pages.pop(key)) + self.OVERHEAD

    def stats(self) -> dict[str, int]:
        return {
            "warm_pages": len(self._pages),
            "warm_bytes": self._bytes,
            "warm_hits": self._hits,
            "warm_misses": self._misses,
            "warm_aged": self._aged,
        }

    async def close(self) -> None:
        """Nothing waits."""
