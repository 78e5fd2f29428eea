"""The warm tier: pages left lately, ready without a read from the disk."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Warm(Protocol):
    """A bounded place for pages. Losing one is never an error: the cold tier has them all."""

    async def get(self, tenant: str, id: str) -> bytes | None: ...

    async def put(self, tenant: str, id: str, text: bytes) -> None: ...

    def stats(self) -> dict[str, int]: ...


class Process:
    """A warm tier inside the process: least recently used goes first, within a budget of bytes."""

    # what an entry costs beside its text: two key strings, a tuple, a node of the ordered dict
    OVERHEAD = 400

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._pages: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._hits = 0
        self._misses = 0
        self._aged = 0

    async def get(self, tenant: str, id: str) -> bytes | None:
        text = self._pages.get((tenant, id))
        if text is None:
            self._misses += 1
            return None
        self._hits += 1
        self._pages.move_to_end((tenant, id))
        return text

    async def put(self, tenant: str, id: str, text: bytes) -> None:
        key = (tenant, id)
        old = self._pages.pop(key, None)
        if old is not None:
            self._bytes -= len(old) + self.OVERHEAD
        if len(text) + self.OVERHEAD > self._budget:
            return
        self._pages[key] = text
        self._bytes += len(text) + self.OVERHEAD
        while self._bytes > self._budget:
            _, gone = self._pages.popitem(last=False)
            self._bytes -= len(gone) + self.OVERHEAD
            self._aged += 1

    def stats(self) -> dict[str, int]:
        return {
            "warm_pages": len(self._pages),
            "warm_bytes": self._bytes,
            "warm_hits": self._hits,
            "warm_misses": self._misses,
            "warm_aged": self._aged,
        }
