"""Eviction: when the prefix may change, and which pages leave it.

Keeping a token costs its rent (a cache read) on every turn; changing the prefix makes the provider write everything
behind the change again, at ten to fifty times the rent. So *when* decides more than *what*. An *epoch* is a moment at
which the change is free:

- cold: the provider's cache of the conversation has expired, and the prefix will be written again anyway;
- edit: the client changed or rewound its own history; everything behind the first change is new to the provider;
- uncached: the client asks for no caching and the provider reported none, so every token is full price on every turn.

At an epoch everything dead leaves in one batch; between epochs nothing does. A model switch is no epoch by itself: the
cache of the first model is still warm, and clients do go back and forth.

*Bound* reasoning: newer models refuse (or silently drop) signed reasoning when anything before it changed. There,
a page may leave only if no signed reasoning stands behind it; or, when a new human turn starts on a cold cache, after
all reasoning of the finished turns has been removed with it. Elsewhere the provider may do it (`addon.mmu.clear`).

Victims are old, large and unreferenced, or released by the model itself. Never evicted: errors, the newest results,
files under edit, and a result that a resident fold refers to, unless the fold's own block leaves in the same batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from addon.mmu.handle import handle
from addon.mmu.view import Change, Descent, Entry, Line, Reasoning, Splice, Table, View, shown
from addon.mmu.workingset import Uses, kept_for, pinned, superseded
from addon.wire.conversation import Act, Conversation, Kind

SLACK = 60.0
"""Seconds, and at least an eighth of its time to live, that a cache may live on. Measured on recorded sessions: between
4.5 and 6 minutes 56 % of 5-minute entries were still hit, later 1 %; 1-hour entries were hit up to 65 minutes."""

DEFAULT_TTL = 3600.0
"""Seconds assumed where caching is seen but its time to live is not known: the longest there is."""

type Size = Callable[[str, bytes | None], int]
"""Tokens of a text, given its hash where that is known."""


class Occasion(StrEnum):
    """Why the prefix may change."""

    COLD = "cold"
    EDIT = "edit"
    UNCACHED = "uncached"
    CUT = "cut"
    """The cache is warm, and it pays all the same."""
    EVERY = "every"
    """The published age rule, which asks for no occasion."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment at which the prefix may change, from message `start` on."""

    occasion: Occasion
    start: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as old and large. Ages in requests since the last access, sizes in tokens."""

    name: str = "auto"
    folds: bool = True
    """Lines that stand in the view already are folded where a result arrives."""
    excerpts: bool = True
    """An oversized result arrives in part."""
    evicts: bool = True
    """Dead pages leave where the prefix may change for nothing."""
    cuts: bool = True
    """They also leave a warm cache, where that pays."""
    stubs: bool = True
    """Tools that are not used arrive without their descriptions."""
    marks: bool = True
    """Where a client asks for no caching, it is asked for."""
    excerpt_over: int = 1500
    """Tokens of an output from which it arrives in part."""
    excerpt_room: int = 600
    """Tokens of it that stay."""
    file_age: int = 8
    """Where epochs are rare or have to pay, so that what stays is rented for long."""
    output_age: int = 1
    every_file_age: int = 8
    """Where an epoch comes with every request, so that nothing has to leave early."""
    every_output_age: int = 2
    every_least: int = 100
    """As `least`, and like the age of outputs there the same under pressure: what is kept is paid in full each time."""
    least: int = 100
    """Tokens that an eviction must free, its handle paid."""
    fifo_age: int = 4
    """For `fifo`: user turns since arrival."""
    fifo_bytes: int = 500
    """For `fifo`: smallest result, in bytes."""

    def at(self, occasion: Occasion) -> Policy:
        """The policy with the ages and sizes that count at an occasion."""
        if occasion is not Occasion.UNCACHED:
            return self
        here = replace(self, file_age=self.every_file_age, output_age=self.every_output_age)
        return replace(here, least=self.every_least)

    def under(self, pressure: float) -> Policy:
        """The policy with ages and sizes that many times as great."""
        grown = {name: ceil(pressure * getattr(self, name)) for name in AGES_AND_SIZES}
        return replace(self, **grown)


AGES_AND_SIZES = ("file_age", "output_age", "every_file_age", "least")


def time_to_live(view: View) -> float | None:
    """Seconds the provider keeps the conversation's cache after a request; None when it is known to cache nothing."""
    for known in (view.state.get("told"), view.state.get("ttl")):
        if isinstance(known, int | float):
            return float(known)
    return None if view.state.get("cached") is False else DEFAULT_TTL


def gone_after(ttl: float) -> float:
    """Seconds after which a cache with this time to live has expired for certain."""
    return ttl + max(SLACK, ttl / 8)


def is_cold(line: Line, now: float) -> bool:
    """Whether the provider's cache of the prefix has expired, for every model and line that used it."""
    ttl = time_to_live(line.parent) if line.parent is not None else DEFAULT_TTL
    return ttl is None or now - line.used_at > gone_after(ttl)


def epoch(conversation: Conversation, line: Line, now: float, policy: Policy) -> Epoch | None:
    """The occasion this request offers, if any. `now` in epoch seconds."""
    if policy.name == "fifo":
        return Epoch(Occasion.EVERY, 0)
    if line.parent is None or line.how is Descent.REPEATED:
        return None
    if conversation.ttl is None and time_to_live(line.parent) is None:
        return Epoch(Occasion.UNCACHED, 0)
    if is_cold(line, now):
        return Epoch(Occasion.COLD, 0)
    if line.how is Descent.DIVERGED:
        return Epoch(Occasion.EDIT, line.seen)
    return None


def new_human_turn(conversation: Conversation) -> bool:
    """Whether the request opens a turn: behind the model's last answer the user speaks, and no tool answers."""
    for message in reversed(conversation.messages):
        if message.role == "assistant":
            return False
        if message.role == "user":
            return all(b.kind is not Kind.RESULT for b in message.blocks)
    return False


def reasoning_to_drop(
    conversation: Conversation, table: Table, occasion: Epoch, splices: Mapping[str, Splice]
) -> list[Reasoning] | None:
    """All signed reasoning, if this is a moment to remove it with the pages before it; None if it is not."""
    if occasion.occasion is not Occasion.COLD or not new_human_turn(conversation):
        return None
    if any((s := splices.get(r.anchor)) is not None and s.change is not Change.DROP for r in table.reasoning):
        return None  # its removal was refused before
    if any(r.cut is None for r in table.reasoning):
        return None
    # An answer that consists of reasoning alone would be left without content.
    by_message: dict[int, int] = defaultdict(int)
    for r in table.reasoning:
        by_message[r.message] += 1
    if any(count == len(conversation.messages[number].blocks) for number, count in by_message.items()):
        return None
    # Unsigned reasoning would stay behind; whether the provider takes such a mixture is not known.
    if sum(b.kind is Kind.REASONING for m in conversation.messages for b in m.blocks) != len(table.reasoning):
        return None
    return table.reasoning


def _fifo(table: Table, splices: Mapping[str, Splice], policy: Policy) -> list[Entry]:
    """The published age rule: every result of at least so many bytes that is at least so many user turns old."""
    return [
        e
        for e in table.entries
        if not e.block.error
        and table.requests - e.arrival >= policy.fifo_age
        and len(e.block.text.encode("utf-8", "surrogatepass")) >= policy.fifo_bytes
        and e.anchor not in splices
    ]


def victims(
    table: Table,
    used: Uses,
    splices: Mapping[str, Splice],
    start: int,
    policy: Policy,
    size: Size,
    floor: int = -1,
) -> list[Entry]:
    """The entries to evict at an epoch that begins at message `start`, in order.

    Entries up to and including message `floor` are spared (bound reasoning stands behind them). `used` are the uses of
    the table's entries.
    """
    if policy.name == "fifo":
        return [e for e in _fifo(table, splices, policy) if e.message > floor]
    dependents: dict[str, list[str]] = defaultdict(list)
    for anchor, s in splices.items():
        for needed in s.needs:
            dependents[needed].append(anchor)
    old = dead(table, used, splices, start, policy, floor)

    def gain(entry: Entry) -> int:
        stands = shown(entry, splices)
        digest = entry.block.digest if stands is entry.block.text else None
        return size(stands, digest) - size(handle(entry.page, entry.subject, entry.block.text), None)

    chosen: dict[str, Entry] = {}
    for entry in reversed(table.entries):
        if entry.anchor in chosen or not old[entry.anchor]:
            continue
        leaning = [a for a in dependents[entry.anchor] if a not in chosen]
        if not all(old.get(a, False) for a in leaning):
            continue
        group = [entry, *(table.by_anchor[a] for a in leaning)]
        if sum(gain(e) for e in group) >= policy.least:
            chosen.update((e.anchor, e) for e in group)
    return [e for e in table.entries if e.anchor in chosen]


def dead(
    table: Table, used: Uses, splices: Mapping[str, Splice], start: int, policy: Policy, floor: int = -1
) -> dict[str, bool]:
    """By anchor, whether an entry is used no more; with `start`, `floor` and `used` as for `victims`."""
    subjects, accesses = used.subjects, used.accesses
    kept = kept_for(table, splices, subjects, accesses)
    stale = superseded(table, splices, subjects)
    old: dict[str, bool] = {}
    for entry, about, access in zip(table.entries, subjects, accesses, strict=True):
        found = splices.get(entry.anchor)
        age = policy.file_age if about.act is Act.READ or entry.recalled else policy.output_age
        old[entry.anchor] = (
            entry.message >= start
            and entry.message > floor
            and (found is None or found.change in (Change.FOLD, Change.SERVE, Change.ANSWER, Change.EXCERPT))
            and (not entry.block.error or (found is not None and found.pardons))
            and (
                entry.anchor in table.released
                or entry.anchor in stale
                or (table.requests - access >= max(age, kept.get(about.name, 0)) and not pinned(about, table))
            )
        )

    return old


def last_signed(reasoning: Sequence[Reasoning], splices: Mapping[str, Splice]) -> int:
    """Index of the last message whose signed reasoning is still sent, -1 for none."""
    return max((r.message for r in reasoning if not _dropped(r, splices)), default=-1)


def _dropped(reasoning: Reasoning, splices: Mapping[str, Splice]) -> bool:
    found = splices.get(reasoning.anchor)
    return found is not None and found.change is Change.DROP
