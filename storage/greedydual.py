"""GreedyDual-Size-Frequency: which of many things of many sizes is to go first.

Each thing has a height, H = L + F C / S: F is how often it was asked for, S its size, C what it costs to get it again,
and L, the same for all, the height of what was driven out last. The lowest goes. So small things stay longer than large
ones, and what is asked for often longer than what is not; and L ages: it climbs with every eviction, and what is not
asked for any more is overtaken in the end, however often it once was. A scan, many things asked for once, drives out
other things asked for once.

L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs HPL-98-69R1
(1998), after P. Cao and S. Irani, "Cost-Aware WWW Proxy Caching Algorithms" (USITS 1997). C is one read of the tier
below and so much for each byte; were it the same for all, the largest would hardly ever stay.

Pure. Every operation is O(log n), some of it paid later: a height that has changed leaves its old entry in the heap, to
be skipped, and the heap is made anew once most of it is such.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

READ = 65_536
"""Bytes that cost as much to unpack as a read does beside: some 150 microseconds."""


@dataclass(slots=True)
class _Held:
    size: int
    uses: float
    height: float
    # of its one entry in the heap that counts
    number: int = 0


class GreedyDual[K]:
    """The order in which keys leave. It holds no contents and knows no budget."""

    def __init__(self) -> None:
        self._held: dict[K, _Held] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._age = 0.0
        self._count = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, key: K, size: int, uses: float = 0.0) -> None:
        """Take in a key, or give it another size. `size` in bytes, at least 1; `uses` is how often it was asked for
        elsewhere. That it comes in counts as one more, unless it is here already."""
        old = self._held.get(key)
        count = max(old.uses, uses) if old is not None else uses + 1
        held = self._held[key] = _Held(size, count, self._age + _worth(count, size))
        self._push(key, held)

    def use(self, key: K) -> None:
        """The key was asked for. KeyError where it is not held."""
        held = self._held[key]
        held.uses += 1
        held.height = self._age + _worth(held.uses, held.size)
        self._push(key, held)

    def drop(self, key: K) -> None:
        """Take a key out, which ages nothing. KeyError where it is not held."""
        del self._held[key]

    def evict(self) -> K:
        """Take out the key that is to go first; of several, the one that has not been asked for longest. IndexError
        when there is none."""
        while True:
            height, number, key = heapq.heappop(self._heap)
            held = self._held.get(key)
            if held is not None and held.number == number:
                del self._held[key]
                self._age = height
                return key

    def _push(self, key: K, held: _Held) -> None:
        self._count += 1
        held.number = self._count
        heapq.heappush(self._heap, (held.height, held.number, key))
        if len(self._heap) > 2 * len(self._held) + 64:
            self._heap = [(one.height, one.number, each) for each, one in self._held.items()]
            heapq.heapify(self._heap)


def _worth(uses: float, size: int) -> float:
    return uses * (1 / size + 1 / READ)
