"""What the sessions of a recording leave to each other: the habits that they show, and heads that mitmmu has changed.

Sessions are replayed one after the other, though they were made side by side. So all of it is kept with its time, and a
request is told of nothing that was later than itself. Of what a session does that is replayed after it, it is told
nothing either: it may know less than the proxy would have, never more.

Of heads that went out as the client has them nothing is kept. How warm others kept those, the recorded usage says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from operator import attrgetter, itemgetter

from addon.audit.simulated import Units
from addon.mmu.evict import DEFAULT_TTL
from addon.mmu.habits import Learned, Observed
from addon.wire.conversation import Conversation
from storage.tallies import added, faded

STEP = 64
"""Entries of a log between two sums that are kept of it."""


class Log:
    """Amounts by time, and their sums at any time."""

    def __init__(self) -> None:
        self._log: list[tuple[float, Mapping[str, float]]] = []
        self._sums: list[dict[str, float]] = [{}]
        """Of the first 0, STEP, 2 x STEP, ... entries."""

    def add(self, now: float, amounts: Mapping[str, float]) -> None:
        """Entries need not come in the order of their times."""
        at = bisect_right(self._log, now, key=itemgetter(0))
        self._log.insert(at, (now, amounts))
        del self._sums[at // STEP + 1 :]

    def upto(self, now: float) -> dict[str, float]:
        """The sums at a time, faded as the proxy's are."""
        end = bisect_right(self._log, now, key=itemgetter(0))
        while len(self._sums) <= end // STEP:
            start = (len(self._sums) - 1) * STEP
            self._sums.append(self._sum(self._sums[-1], start, start + STEP))
        return self._sum(self._sums[end // STEP], end // STEP * STEP, end)

    def _sum(self, held: dict[str, float], start: int, end: int) -> dict[str, float]:
        for _, amounts in self._log[start:end]:
            held = faded(added(held, amounts))
        return held


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose habits a session has."""

    client: str
    sub: bool = False
    project: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """A changed head, as it was sent."""

    at: float
    """Epoch seconds."""
    anchors: frozenset[str]
    """Of what was changed in it."""
    keys: tuple[Hashable, ...]
    """Of its units."""
    kept: Mapping[int, float]
    """The units behind which it was cached, each with seconds."""

    def shared(self, units: Units) -> tuple[Units, float]:
        """The beginning of a prompt that was cached of it, and for how many seconds; none: no units."""
        pairs = zip(self.keys, units, strict=False)
        length = next((n for n, (key, unit) in enumerate(pairs) if key != unit.key), min(len(self.keys), len(units)))
        at = max((n for n in self.kept if n < length), default=-1)
        return (units[: at + 1], self.kept[at]) if at >= 0 else ((), 0.0)


class Elsewhere:
    """Of one arm."""

    def __init__(self) -> None:
        self._clients: defaultdict[tuple[str, bool], Log] = defaultdict(Log)
        self._projects: defaultdict[Kind, Log] = defaultdict(Log)
        self._heads: defaultdict[tuple[str, str], list[Head]] = defaultdict(list)

    def learned(self, kind: Kind, now: float) -> Learned:
        """What is known by then of conversations of a kind."""
        project = self._projects[kind].upto(now) if kind.project else {}
        return Learned(self._clients[kind.client, kind.sub].upto(now), project, kind.sub)

    def learn(self, kind: Kind, seen: Observed, now: float) -> None:
        """Add what a request shows."""
        self._clients[kind.client, kind.sub].add(now, seen.population)
        if kind.project and seen.project:
            self._projects[kind].add(now, seen.project)

    def head(self, conversation: Conversation, now: float) -> Head | None:
        """How the head of a request was last changed, if that was no longer ago than it lives."""
        known = self._heads[_key(conversation)]
        at = bisect_right(known, now, key=attrgetter("at"))
        alive = at and now - known[at - 1].at <= (conversation.ttl or DEFAULT_TTL)
        return known[at - 1] if alive else None

    def sent(self, conversation: Conversation, head: Head) -> None:
        """A request has left with its head changed."""
        known = self._heads[_key(conversation)]
        known.insert(bisect_right(known, head.at, key=attrgetter("at")), head)


def _key(conversation: Conversation) -> tuple[str, str]:
    tools = conversation.tools
    return conversation.model, conversation.text[tools[0].start : tools[-1].end] if tools else ""
