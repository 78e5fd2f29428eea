"""What a prompt would weigh to whoever knew the future, and took out what is of no more use.

Every result is there from when it came to its last use, as `addon.audit.waste` has it, and then gone; lines that stood
in an earlier result never come; tools that the session never calls are not declared. Taking something out costs
nothing: everything else is billed exactly as in the untouched prompt, as if the provider had cached it without.

It bounds what folds and evictions can win. What cuts short things that are still in use (an excerpt of a result, the
stub of a tool that is called) can go below it on a single session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from addon.audit.recorded import Line, transcript
from addon.mmu.tokens import Counter
from addon.mmu.view import Table, page_table
from addon.mmu.workingset import last_access, stands_for
from addon.wire.usage import Usage


@dataclass(frozen=True, slots=True)
class Fate:
    """Of a result."""

    used: int
    """The last request of its line that uses it, by the answers before it."""
    tokens: int
    repeated: int
    """Tokens of its lines that were there before."""


def fates(line: Line, repeated: Mapping[int, int], counter: Counter) -> dict[str, Fate]:
    """By anchor, what becomes of the results of a line. `repeated` is by the identity of a block."""
    table = page_table(transcript(line))
    return {
        entry.anchor: Fate(
            max(used, entry.arrival),
            counter.count(entry.block.text, entry.block.digest),
            repeated.get(id(entry.block), 0),
        )
        for entry, used in zip(table.entries, last_access(table, stands_for(table)), strict=True)
    }


def absent(table: Table, known: Mapping[str, Fate]) -> dict[int, int]:
    """By message of a request, the tokens that are not needed in it."""
    gone: dict[int, int] = {}
    for entry in table.entries:
        fate = known.get(entry.anchor)
        if fate is not None:
            tokens = fate.tokens if table.requests > fate.used else fate.repeated
            gone[entry.message] = gone.get(entry.message, 0) + tokens
    return gone


def without(usage: Usage, sizes: Sequence[int], gone: Mapping[int, int]) -> Usage:
    """A bill with some tokens of some units taken out, each from the stretch of the prompt that its unit stands in."""
    ends = [usage.read, usage.read + usage.written_hour, usage.read + usage.written_hour + usage.written, usage.prompt]
    left = [usage.read, usage.written_hour, usage.written, usage.fresh]
    upto = 0
    for at, size in enumerate(sizes):
        upto += size
        if tokens := min(gone.get(at, 0), size):
            stretch = next(n for n, end in enumerate(ends) if upto <= end)
            left[stretch] -= tokens
    return replace(usage, read=left[0], written_hour=left[1], written=left[2], fresh=left[3])
