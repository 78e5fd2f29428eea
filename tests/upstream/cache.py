"""The prompt cache of one account, simulated on the clock that requests bring along.

An entry is a prefix of the line of blocks (prompt.py) that once ended at a breakpoint. A breakpoint finds the longest
live entry among the 20 positions that end with it; the best one over all breakpoints is read, everything from there to
the last breakpoint is written, what follows is plain input. Reading refreshes the entries it used, free of charge, from
the moment the request began; an entry keeps the lifetime it was written with. Prefixes shorter than the model's
minimum are silently not cached. A breakpoint inside what was read costs nothing and leaves an entry of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.upstream.prompt import Position

LOOKBACK = 20
LIFETIME = {"5m": 300.0, "1h": 3600.0}
UNMARKABLE = frozenset({"thinking", "redacted_thinking"})


@dataclass(slots=True)
class Entry:
    expires: float
    lifetime: float


@dataclass(frozen=True, slots=True)
class Split:
    """How a request's input tokens are billed; the four sum to the whole prompt."""

    fresh: int
    read: int
    write_5m: int
    write_1h: int


def breakpoints(line: list[Position], automatic: str | None) -> dict[int, str]:
    """Index -> lifetime asked for; `automatic` is the top-level marker, which stands on the last block that may."""
    found = {at: here.ttl for at, here in enumerate(line) if here.ttl}
    if automatic:
        last = next((at for at in range(len(line) - 1, -1, -1) if line[at].kind not in UNMARKABLE), None)
        if last is not None:
            found.setdefault(last, automatic)
    return found


class Cache:
    """Not locked: the server serves one request at a time here."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}

    def live(self, link: bytes, now: float) -> Entry | None:
        entry = self.entries.get(link)
        return entry if entry and entry.expires > now else None

    def put(self, link: bytes, now: float, lifetime: float) -> None:
        self.entries[link] = Entry(now + lifetime, lifetime)

    def find(self, links: list[bytes], marks: dict[int, str], now: float) -> int:
        """Index of the last position that is read from the cache, or -1."""
        best = -1
        for mark in marks:
            for at in range(mark, max(mark - LOOKBACK, best, -1), -1):
                if self.live(links[at], now):
                    best = at
                    break
        return best

    def serve(self, links: list[bytes], tokens: list[int], marks: dict[int, str], now: float, minimum: int) -> Split:
        """Bill one request and remember its prefixes. `tokens` holds one count per position, `now` is in seconds."""
        upto = []
        total = 0
        for count in tokens:
            total += count
            upto.append(total)
        marks = {at: ttl for at, ttl in marks.items() if upto[at] >= minimum}
        hit = self.find(links, marks, now)
        for link in links[: hit + 1]:
            entry = self.live(link, now)
            if entry:
                entry.expires = now + entry.lifetime
        for at, ttl in marks.items():
            if not self.live(links[at], now):
                self.put(links[at], now, LIFETIME[ttl])
        read = upto[hit] if hit >= 0 else 0
        hour_end = max((upto[at] for at, ttl in marks.items() if ttl == "1h"), default=0)
        end = max((upto[at] for at in marks), default=0)
        write_1h = max(0, hour_end - read)
        write_5m = max(0, end - read - write_1h)
        return Split(total - read - write_1h - write_5m, read, write_5m, write_1h)
