"""Faults: the model needed a page that is not resident.

An *implicit* fault shows in the transcript alone: the model reads a file again, or repeats a command, whose earlier
result was evicted. The bytes come back through the client's own tool, so nothing has to be served; what the fault tells
is that the eviction was premature. A page is matched to a re-read by path and by content lines, not by range: agents
read other ranges of a known file all the time, and those need nothing that was evicted. It does not matter whether a
tool or a shell read it.

Some clients answer a second read with "unchanged since last read" in place of the file, or show no more than a preview
of it. When the earlier result is no longer resident that answer would point at nothing, or the rest would stand
nowhere, so the page is served in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from addon.mmu.admit import resident
from addon.mmu.reread import withheld
from addon.mmu.view import GONE, Change, Entry, Splice
from addon.wire.conversation import Act, Conversation
from addon.wire.subject import numbered, same, says_unchanged, split


@dataclass(frozen=True, slots=True)
class Fault:
    """The model asked for an evicted page again."""

    page: str
    anchor: str
    """Anchor of the evicted entry."""
    distance: int
    """Requests between the page's arrival and the fault."""


def _lines(entry: Entry) -> set[str]:
    """The content lines that say something."""
    lines = (line.strip() for _, line in numbered(split(entry.block.text)[0]))
    return {line for line in lines if len(line) > 3}


def _gone(entry: Entry, splices: Mapping[str, Splice]) -> bool:
    found = splices.get(entry.anchor)
    return found is not None and found.change in (*GONE, Change.EXCERPT)


def faults(arrived: Iterable[Entry], earlier: Iterable[Entry], splices: Mapping[str, Splice]) -> list[Fault]:
    """Evicted pages that results which just arrived bring back. Each arrival faults on a page at most once, and not on
    what one before it has brought.

    A command faults on its newest evicted result if it says nothing new: else it was run to see what is different now,
    and the old result would not have served. A read faults on every evicted page of its path of which at least
    half the lines (or half of what was read, if that is less) come again and stand in no resident or newer result.
    """
    known = list(earlier)
    out: list[Fault] = []
    for entry in arrived:
        if entry.block.error or entry.recalled:
            continue  # recalls are counted where they are answered
        alike = [e for e in known if same(e.subject, entry.subject)]
        gone = [e for e in alike if _gone(e, splices)]
        known.append(entry)
        if not gone:
            continue
        if entry.subject.act is Act.READ:
            here: set[str] = set()
            for other in resident(alike, splices):
                here |= _lines(other)
            wanted = _lines(entry) - here
            for e in reversed(gone):
                lines = _lines(e)
                back = len(wanted & lines)
                if back and 2 * back >= min(len(lines), len(wanted)):
                    out.append(Fault(e.page, e.anchor, entry.arrival - e.arrival))
                    wanted -= lines
        elif not resident(alike, splices):
            e = gone[-1]
            if _lines(entry) <= _lines(e):
                out.append(Fault(e.page, e.anchor, entry.arrival - e.arrival))
    return out


def unserved(
    entry: Entry, earlier: Sequence[Entry], splices: Mapping[str, Splice], conversation: Conversation
) -> Entry | None:
    """The evicted entry that a client answers with "unchanged" or a preview; None when it is resident or unknown."""
    return _unchanged(entry, earlier, splices) or withheld(entry, earlier, splices, conversation)


def _unchanged(entry: Entry, earlier: Sequence[Entry], splices: Mapping[str, Splice]) -> Entry | None:
    about = entry.subject
    if about.act is not Act.READ or about.run or not says_unchanged(entry.block.text):
        return None
    # It speaks of what the same tool has shown, not of lines that a shell printed since.
    reads = [e for e in earlier if not e.subject.run and same(e.subject, about) and not e.block.error]
    for before in reversed(reads):
        found = splices.get(before.anchor)
        if not says_unchanged(before.block.text):
            return before if _gone(before, splices) else None
        if found is not None and found.change is Change.SERVE:
            return None
    return None
