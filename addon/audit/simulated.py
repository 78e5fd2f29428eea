"""A provider's prompt cache, simulated on the times that were recorded. Pure, no clock of its own.

A prompt is a row of *units* (head, tools, instructions, messages), each with a key that tells it from any other and its
tokens. A prefix is cached where it once ended at a *mark*, for as long as the mark asked. The next prompt reads the
longest prefix that it shares with a live entry; what it has from there to its last mark is written, the rest is fresh.
Reading keeps an entry alive for its lifetime again. A prefix shorter than the model's minimum is not cached.

A mark finds an entry no more than 20 blocks before it (Anthropic, "Prompt caching"), which is what makes it dear to
change an old message. Where a provider caches unasked, every unit ends at a mark, so that every one finds its own.

Not simulated: marks within a message (they stand at its end here), the steps of tokens in which others cache, and
entries that live longer than promised.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from addon.wire import anthropic
from addon.wire.api import Api
from addon.wire.conversation import Conversation
from addon.wire.retention import DAY, HOUR
from addon.wire.usage import Usage

LOOKBACK = 20
"""Blocks up to which a mark looks for an entry, its own counted."""


class Unit(NamedTuple):
    """A part of a prompt."""

    key: Hashable
    tokens: int
    blocks: int = 1


type Units = Sequence[Unit]

SHORT = 300.0
"""Seconds for which is cached where nothing else is known."""
UNASKED = 1800.0
"""Seconds that OpenAI's caches in memory live on; what is promised is an hour at most."""


@dataclass(slots=True)
class _Entry:
    expires: float
    lifetime: float


class Cache:
    """The cache of one account."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Hashable, Hashable], int] = {}
        """A prefix has a number: that of the prefix without its last unit, and that unit's key, lead to it."""
        self._entries: dict[int, _Entry] = {}

    def serve(self, model: str, units: Units, marks: Mapping[int, float], now: float, minimum: int) -> Usage:
        """Bill one prompt, output left out, and remember it.

        `marks` are the units behind which a prefix is to be cached, each with seconds; `now` is in epoch seconds;
        `minimum` in tokens. A lifetime of an hour or more is written for an hour.
        """
        path, upto = self._path(model, units)
        marks = {at: ttl for at, ttl in marks.items() if upto[at] >= minimum}
        last = max(marks, default=-1)
        hit = self._found(path, units, marks, now)
        for node in path[: hit + 1]:
            if (entry := self._live(node, now)) is not None:
                entry.expires = now + entry.lifetime
        for at, ttl in marks.items():
            if self._live(path[at], now) is None:
                self._entries[path[at]] = _Entry(now + ttl, ttl)
        read = upto[hit] if hit >= 0 else 0
        hour = max(read, *(upto[at] for at, ttl in marks.items() if ttl >= HOUR), 0)
        end = max(hour, upto[last] if last >= 0 else 0)
        total = upto[-1] if upto else 0
        return Usage(fresh=total - end, read=read, written=end - hour, written_hour=hour - read)

    def warm(self, model: str, units: Units, now: float, ttl: float) -> None:
        """Somebody else has had these units cached, whatever they weigh."""
        if units:
            path, _ = self._path(model, units)
            self._entries[path[-1]] = _Entry(now + ttl, ttl)

    def holds(self, model: str, units: Units, now: float) -> int:
        """Tokens of the longest beginning of these units that is cached."""
        path, upto = self._path(model, units)
        live = (tokens for node, tokens in zip(path, upto, strict=True) if self._live(node, now) is not None)
        return max(live, default=0)

    def _found(self, path: list[int], units: Units, marks: Mapping[int, float], now: float) -> int:
        """The last unit of the longest prefix that is read, -1 for none."""
        for mark in sorted(marks, reverse=True):
            back = 0
            for at in range(mark, -1, -1):
                if self._live(path[at], now) is not None:
                    return at
                back += units[at].blocks
                if back >= LOOKBACK:
                    break
        return -1

    def _live(self, node: int, now: float) -> _Entry | None:
        entry = self._entries.get(node)
        return entry if entry is not None and entry.expires > now else None

    def _path(self, model: str, units: Units) -> tuple[list[int], list[int]]:
        """For each unit the number of the prefix that ends with it, and its tokens."""
        path, upto, total = list[int](), list[int](), 0
        at: Hashable = model
        for unit in units:
            at = self._nodes.setdefault((at, unit.key), len(self._nodes))
            path.append(at)
            upto.append(total := total + unit.tokens)
        return path, upto


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request asks of the cache."""

    marks: Mapping[int, float]
    unasked: bool
    """The provider caches by itself, and reports no lifetime."""

    def told(self, usage: Usage) -> Usage:
        """A bill as the provider would report it."""
        if not self.unasked:
            return usage
        return replace(usage, written=usage.written + usage.written_hour, written_hour=0, untold=True)


def asking(api: Api, conversation: Conversation, head: int, *, caches: bool, whole: bool) -> Asking:
    """The marks of a request whose messages stand behind `head` units.

    `caches` is false where the provider was seen to cache nothing. `whole` is false where system prompt and tools were
    not recorded: they are taken to end at a mark, as those of coding agents do.
    """
    length = head + len(conversation.messages)
    unasked = not conversation.breakpoints and api is not anthropic
    if not caches or not length:
        return Asking({}, unasked)
    if unasked:
        kept = conversation.ttl if conversation.ttl is not None else SHORT
        ttl = kept if kept >= DAY else min(kept, UNASKED)
        return Asking(dict.fromkeys(range(length), ttl), unasked)
    marks = {head + n: max(message.marks) for n, message in enumerate(conversation.messages) if message.marks}
    longest = conversation.ttl if conversation.ttl is not None else SHORT
    above = conversation.breakpoints - sum(len(message.marks) for message in conversation.messages)
    if "cache_control" in conversation.places:
        marks[length - 1] = longest
        above -= 1
    if head and (above > 0 or (conversation.breakpoints and not whole)):
        marks[head - 1] = longest
    return Asking(marks, unasked)
