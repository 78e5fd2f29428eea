"""The working set: which pages the model still uses, read off the transcript alone.

An access is the model's own demand: reading the same file again, changing it. Requests
are the clock (the answers of the model so far), so that the age of a page is a function of the transcript and is the
same after a restart. Pages of a file under edit are pinned, but no pin lasts for ever.

A page that is asked for again after its eviction was evicted too early by its *refault distance*, the requests between
the two arrivals (the idea of the kernel's mm/workingset.c). Its next copy is kept for twice that distance, so that a
cyclic scan faults at most once a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from addon.mmu.view import Change, Entry, Splice, Table
from addon.wire.conversation import Act

PIN = 20
"""Requests for which an edit keeps the pages of its file resident."""


def last_access(table: Table) -> list[int]:
    """For each entry, the last request that used it.

    A file is used by its arrival, by any later read or recall of the same path and by edits of it. An output is used
    when it arrives: running the command again makes it obsolete.
    """
    latest: dict[str, int] = dict(table.edits)
    out = [0] * len(table.entries)
    for number in range(len(table.entries) - 1, -1, -1):
        entry = table.entries[number]
        if entry.subject.act is Act.READ and not entry.block.error:
            out[number] = latest[entry.subject.name] = max(latest.get(entry.subject.name, 0), entry.arrival)
        else:
            out[number] = entry.arrival
    return out


def pinned(entry: Entry, table: Table) -> bool:
    """Whether the entry shows a file that was edited lately."""
    edited = table.edits.get(entry.subject.name)
    return edited is not None and table.requests - edited < PIN


def refault_distances(table: Table, splices: Mapping[str, Splice]) -> dict[str, int]:
    """For each subject that came back after an eviction, the longest distance at which it did, in requests."""
    gone: dict[str, int] = {}
    out: dict[str, int] = {}
    for entry in table.entries:
        name = entry.subject.name
        if name in gone:
            out[name] = max(out.get(name, 0), entry.arrival - gone[name])
        found = splices.get(entry.anchor)
        if found is not None and found.change is Change.EVICT:
            gone[name] = entry.arrival
        else:
            gone.pop(name, None)
    return out
