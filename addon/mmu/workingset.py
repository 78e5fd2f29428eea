"""The working set: which pages the model still uses, read off the transcript alone.

An access is the model's own demand: reading the same file again, changing it. Requests
are the clock (the answers of the model so far), so that the age of a page is a function of the transcript and is the
same after a restart. Pages of a file under edit are pinned, but no pin lasts for ever.

A page that is asked for again after its eviction was evicted too early by its *refault distance*, the requests between
the two arrivals (the idea of the kernel's mm/workingset.c). Its next copy is kept for twice that distance, so that a
cyclic scan faults at most once a file.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from addon.mmu.view import Change, Splice, Table
from addon.wire.conversation import Act, Subject
from addon.wire.shell import same_path

PIN = 20
"""Requests for which an edit keeps the pages of its file resident."""


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
        alike = [other for other in by_end[posixpath.basename(path)] if same_path(other, path)]
        edited = [other for other in alike if other in table.edits]
        return next((found[0] for found in (edited, alike) if len(found) == 1), path)

    names = {path: known(path) for path in reads}
    return [
        replace(e.subject, name=names[e.subject.name]) if e.subject.act is Act.READ else e.subject
        for e in table.entries
    ]


def last_access(table: Table, subjects: Sequence[Subject]) -> list[int]:
    """For each entry, the last request that used it. `subjects` are what the entries stand for.

    A file is used by its arrival, by any later read or recall of the same path and by edits of it. An output is used
    when it arrives: running the command again makes it obsolete.
    """
    latest: dict[str, int] = dict(table.edits)
    out = [0] * len(table.entries)
    for number in range(len(table.entries) - 1, -1, -1):
        entry, about = table.entries[number], subjects[number]
        if about.act is Act.READ:
            out[number] = latest[about.name] = max(latest.get(about.name, 0), entry.arrival)
        else:
            out[number] = entry.arrival
    return out


def pinned(about: Subject, table: Table) -> bool:
    """Whether it is a file that was edited lately."""
    edited = table.edits.get(about.name)
    return edited is not None and table.requests - edited < PIN


def refault_distances(table: Table, splices: Mapping[str, Splice], subjects: Sequence[Subject]) -> dict[str, int]:
    """For each subject that came back after an eviction, the longest distance at which it did, in requests."""
    gone: dict[str, int] = {}
    out: dict[str, int] = {}
    for entry, about in zip(table.entries, subjects, strict=True):
        name = about.name
        if name in gone:
            out[name] = max(out.get(name, 0), entry.arrival - gone[name])
        found = splices.get(entry.anchor)
        if found is not None and found.change is Change.EVICT:
            gone[name] = entry.arrival
        else:
            gone.pop(name, None)
    return out
