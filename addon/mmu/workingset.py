"""The working set: which pages the model still uses, read off the transcript alone.

An access is the model's own demand: reading the same file again, changing it, quoting it (addon/mmu/quotes.py).
Requests are the clock (the answers of the model so far), so that the age of a page is a function of the transcript and
is the same after a restart. A file under edit is pinned, for the next edit quotes it, but no pin lasts for ever, and
none holds a copy that a newer one covers: it shows a file that is no more, so it is dead at once.

A page that is asked for again after its eviction was evicted too early by its *refault distance*, the requests between
the two arrivals (the idea of the kernel's mm/workingset.c). That makes it *active*: its next copy is kept for twice
that distance, so that a cyclic scan faults at most once a file. Activation is evidence of a phase, and phases end: each
time the page stays unused for as long as it is kept, that time halves.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from addon.mmu.quotes import shown
from addon.mmu.view import GONE, Entry, Splice, Table
from addon.wire.conversation import Act, Subject
from addon.wire.shell import same_path

PIN = 20
"""Requests for which an edit keeps its file resident."""

NEAREST = 6
"""How many newer copies of a file are tried."""


def stands_for(table: Table) -> list[Subject]:
    """What each entry counts as. Paths that may name one file are one: a shell's is often relative.

    A path that could be that of several files is left as it is.
    """
    reads = {e.subject.name for e in table.entries if e.subject.act is Act.READ}
    by_end: dict[str, list[str]] = defaultdict(list)
    for path in sorted({*table.edits, *(path for path in reads if path.startswith("/"))}):
        by_end[posixpath.basename(path)].append(path)

    def known(path: str) -> str:
        if path in table.edits:
            return path
        alike = [other for other in by_end[posixpath.basename(path)] if other == path or same_path(other, path)]
        edited = [other for other in alike if other in table.edits]
        return next((found[0] for found in (edited, alike) if len(found) == 1), path)

    names = {path: known(path) for path in reads}
    return [
        replace(e.subject, name=names[e.subject.name])
        if e.subject.act is Act.READ and names[e.subject.name] != e.subject.name
        else e.subject
        for e in table.entries
    ]


def last_access(table: Table, subjects: Sequence[Subject], quoted: Sequence[int] = ()) -> list[int]:
    """For each entry, the last request that used it. `subjects` are what the entries stand for, `quoted` the requests
    that quoted them, where that is to count.

    A file is used by its arrival, by any later read or recall of the same path, by edits of it and by quotes. An output
    is used when it arrives: running the command again makes it obsolete. What it said is quoted as often, but seldom
    needed for that; measured on recorded sessions, outputs kept for a quote spared no fault.
    """
    latest: dict[str, int] = dict(table.edits)
    out = [0] * len(table.entries)
    for number in range(len(table.entries) - 1, -1, -1):
        entry, about = table.entries[number], subjects[number]
        if about.act is Act.READ:
            latest[about.name] = max(latest.get(about.name, 0), entry.arrival)
            out[number] = max(latest[about.name], quoted[number] if quoted else 0)
        else:
            out[number] = entry.arrival
    return out


@dataclass(frozen=True, slots=True)
class Uses:
    """What each entry of a table stands for, and the last request that used it."""

    subjects: Sequence[Subject]
    accesses: Sequence[int]


def uses(table: Table, quoted: Sequence[int] = ()) -> Uses:
    """The uses of a table's entries, for `quoted` as in `last_access`."""
    subjects = stands_for(table)
    return Uses(subjects, last_access(table, subjects, quoted))


def pinned(about: Subject, table: Table) -> bool:
    """Whether it is a file that was edited lately."""
    edited = table.edits.get(about.name)
    return edited is not None and table.requests - edited < PIN


def superseded(table: Table, splices: Mapping[str, Splice], subjects: Sequence[Subject]) -> set[str]:
    """Anchors of the copies of a file that a newer one covers which stands in the view.

    It covers a copy when all that the copy says stands in it, or when it shows the same lines by number and half of
    them still say the same.
    """
    newer: dict[str, list[Entry]] = defaultdict(list)
    out: set[str] = set()
    for entry, about in zip(reversed(table.entries), reversed(subjects), strict=True):
        if about.act is not Act.READ or entry.block.error:
            continue
        if any(other.arrival > entry.arrival and _covers(other, entry) for other in newer[about.name][-NEAREST:]):
            out.add(entry.anchor)
        found = splices.get(entry.anchor)
        if found is None or found.change not in GONE:
            newer[about.name].append(entry)
    return out


def _covers(newer: Entry, older: Entry) -> bool:
    was, now = shown(older.block.text), shown(newer.block.text)
    same = len(was.lines & now.lines)
    if same == len(was.lines):
        return same > 0
    if was.numbers is None or now.numbers is None or 2 * same < len(was.lines):
        return False
    return now.numbers[0] <= was.numbers[0] and was.numbers[1] <= now.numbers[1]


def kept_for(
    table: Table, splices: Mapping[str, Splice], subjects: Sequence[Subject], access: Sequence[int]
) -> dict[str, int]:
    """For each file that came back after an eviction, for how many requests it is kept unused. `access` is when each
    entry was last used. A command that is run again wants what it says now.
    """
    kept: dict[str, int] = {}
    used: dict[str, int] = {}
    gone: dict[str, tuple[int, int]] = {}

    def unused(name: str, now: int) -> None:
        idle = now - used.get(name, now)
        while 0 < kept.get(name, 0) <= idle:
            idle -= kept[name]
            kept[name] //= 2
        used[name] = max(now, used.get(name, now))

    for entry, about in zip(table.entries, subjects, strict=True):
        name = about.name
        unused(name, entry.arrival)
        arrived, left = gone.get(name, (0, entry.arrival))
        if entry.arrival > left and about.act is Act.READ:
            kept[name] = max(kept.get(name, 0), 2 * (entry.arrival - arrived))
        found = splices.get(entry.anchor)
        if found is not None and found.change in GONE:
            gone[name] = entry.arrival, found.request
        else:
            gone.pop(name, None)
    for about, last in zip(subjects, access, strict=True):
        unused(about.name, last)
    return kept
