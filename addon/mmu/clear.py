"""Clearing: evictions that the provider carries out, where signed reasoning forbids us to.

Bound reasoning is checked against what was *sent*. So what stands before it is sent as it was, for ever, and the
provider is asked to show the model a placeholder for old results (`addon.wire.anthropic_clear`). It clears the results
of the first so many tool uses, nothing in between. So M, how many, is what is decided here: the first tool uses up to
the first result that is to stay.

M is decided at epochs that begin at the head, where an eviction would be free as well, and is then the same in every
request, or the cache would restart where the clearing ends. It is not stored as a number: each cleared result has a
splice of its own like everything else, and M is how many of the first tool uses have one. So it survives what splices
survive, forks inherit it, and when the client rewinds or edits what was cleared, M ends there.

The placeholder names no page. But the calls are still shown, so the model asks for a page by its file or command. Only
a line whose model has been offered the recall tool is cleared.

An error stays, as everywhere, but not for good: one that is as old as a file read may be goes with what surrounds it,
for else the first failed command would end it all. So do results too small to matter, pinned or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from addon.mmu.view import CLEARED, GONE, Change, Entry, Splice, Table, shown
from addon.wire.conversation import Conversation, Kind

type Size = Callable[[str, bytes | None], int]

LEAST = 400
"""Tokens that clearing must free: it is one more thing that a provider may refuse."""

UNCLEARABLE = "unclearable"
"""Where a line's state says why nothing is cleared any more."""


def _answered(conversation: Conversation, table: Table) -> Iterator[tuple[int, list[Entry]]]:
    """For each answer of the model that calls tools, in order: how many, and what they gave. Ends before the first
    whose results are more than texts, or which has tools in it that the provider runs itself."""
    by_message: dict[int, list[Entry]] = defaultdict(list)
    for entry in table.entries:
        by_message[entry.message].append(entry)
    for number, message in enumerate(conversation.messages):
        if message.role != "assistant":
            if any(b.call and b.kind is Kind.OTHER for b in message.blocks):
                return
            continue
        if any(b.kind is Kind.OTHER for b in message.blocks):
            return
        calls = sum(b.kind is Kind.CALL for b in message.blocks)
        if calls:
            behind = conversation.messages[number + 1 : number + 2]
            if not behind or any(b.kind is Kind.OTHER and b.call for b in behind[0].blocks):
                return
            yield calls, by_message[number + 1]


def cleared(conversation: Conversation, table: Table, splices: Mapping[str, Splice]) -> int:
    """M: how many first tool uses have had their results cleared. Those that were evicted before may be among them."""
    total = most = 0
    for calls, entries in _answered(conversation, table):
        changes = [splices[e.anchor].change if e.anchor in splices else None for e in entries]
        if any(change not in GONE for change in changes):
            break
        total += calls
        if Change.CLEAR in changes:
            most = total
    return most


def clearable(
    conversation: Conversation,
    table: Table,
    splices: Mapping[str, Splice],
    goes: Callable[[Entry], bool],
    size: Size,
) -> list[Entry]:
    """What is to be cleared besides what is gone already; empty where that does not pay. `goes` says whether an entry
    may. A reference is never left to what is cleared."""
    place: dict[str, int] = {}
    groups: list[list[Entry]] = []
    for _, entries in _answered(conversation, table):
        if not all(_gone(e, splices) or goes(e) for e in entries):
            break
        place.update((e.anchor, len(groups)) for e in entries)
        groups.append(entries)
    beyond = len(groups)
    leaning: dict[str, int] = defaultdict(int)
    for anchor, one in splices.items():
        if one.change is not Change.CLEAR and anchor in table.by_anchor:
            for needed in one.needs:
                leaning[needed] = max(leaning[needed], place.get(anchor, beyond))
    best, upto, gain, needs = 0, 0, 0, 0
    for number, entries in enumerate(groups):
        for entry in entries:
            needs = max(needs, leaning[entry.anchor])
            if not _gone(entry, splices):
                gain += size(shown(entry, splices), None) - size(CLEARED, None)
        if needs <= number and gain > best:
            best, upto = gain, number + 1
    if best < LEAST:
        return []
    return [e for e in chain.from_iterable(groups[:upto]) if not _gone(e, splices)]


def _gone(entry: Entry, splices: Mapping[str, Splice]) -> bool:
    found = splices.get(entry.anchor)
    return found is not None and found.change in GONE
