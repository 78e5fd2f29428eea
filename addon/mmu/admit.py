"""Admission: what a tool result looks like the first time it is sent.

A result that just arrived is the tail of the prompt: nothing is cached behind it, so shortening it costs nothing and
saves both the cache write now and the rent on every later turn. *Folding* replaces the lines that already stand in the
view, in an earlier result of the same thing (same file, same command), by a reference to them. The reference names the
page and the lines, so that it is exact and stays true; it never points at anything that is not resident, and it never
counts messages. The earliest copy is the one that is kept, so that references do not form chains.

Only results of the same subject are matched. Across subjects there is little more to win, and a reference to an
unrelated result costs the model turns.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from addon.mmu.handle import PREFIX
from addon.mmu.view import Change, Entry, Splice
from addon.wire.conversation import Act
from addon.wire.subject import numbered, same, split

LEAST_RUN = 240
"""Characters of unchanged lines that a reference must replace at least: about twice its own length."""

LEAST_SAVED = 400
"""Characters that folding a result must save in all."""

CANDIDATES = 6
"""How many places of a line in earlier copies are tried as the start of a run."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A result with its repeated lines replaced, and the anchors of the results it refers to."""

    text: str
    needs: tuple[str, ...]
    lines: int
    """How many lines were replaced."""


@dataclass(frozen=True, slots=True)
class _Source:
    entry: Entry
    lines: list[tuple[int, str]]


def resident(entries: Iterable[Entry], splices: Mapping[str, Splice]) -> list[Entry]:
    """The entries whose own text stands in the view."""
    return [e for e in entries if (s := splices.get(e.anchor)) is None or s.change is Change.ORIGINAL]


def _run(source: _Source, there: int, lines: list[tuple[int, str]], here: int) -> int:
    """Length of the run of equal lines that starts at both places.

    Lines on one side are all numbered or none is; where both sides are, their numbers must stay in step.
    """
    theirs = source.lines
    first, known_first = lines[here][0], theirs[there][0]
    shift = first - known_first
    length = 0
    while here + length < len(lines) and there + length < len(theirs):
        (number, line), (old, known) = lines[here + length], theirs[there + length]
        if line != known or bool(number) is not bool(first) or bool(old) is not bool(known_first):
            break
        if number and old and number - old != shift:
            break
        length += 1
    return length


def _reference(source: _Source, there: int, here: int, lines: list[tuple[int, str]], length: int) -> str:
    entry = source.entry
    number, old = lines[here][0], source.lines[there][0]
    name = entry.subject.name if entry.subject.act is Act.READ else entry.subject.label
    if number and old:
        what = f"{name} lines {number}-{number + length - 1}, unchanged since your read above"
        if number != old:
            what += f" (lines {old}-{old + length - 1} there)"
    elif old:
        what = f"{length} lines, the same as lines {old}-{old + length - 1} in your read of {name} above"
    else:
        lines_here = f"lines {number}-{number + length - 1}" if number else f"{length} lines"
        what = f"{lines_here}, the same as lines {there + 1}-{there + length} of the earlier result of {name}"
    return f"{PREFIX}{entry.page}: {what}]"


def fold(entry: Entry, earlier: Iterable[Entry]) -> Fold | None:
    """Fold a result that just arrived against resident earlier ones, oldest first; None when it does not pay.

    Files match by path whatever range was read, commands by the whole command. Lines are compared without the numbers
    that read tools put before them.
    """
    if entry.block.error or len(entry.block.text) < LEAST_SAVED:
        return None
    subject = entry.subject
    sources = [
        _Source(e, numbered(split(e.block.text)[0])) for e in earlier if same(e.subject, subject) and not e.block.error
    ]
    if not sources:
        return None
    places: dict[str, list[tuple[_Source, int]]] = defaultdict(list)
    for source in sources:
        for at, (_, line) in enumerate(source.lines):
            if len(places[line]) < CANDIDATES:
                places[line].append((source, at))

    raw, between = split(entry.block.text)
    escaped = between != "\n"
    # The first and the last hold what stands around them in the JSON.
    at, end = (1, len(raw) - 1) if escaped else (0, len(raw))
    lines = numbered(raw)[:end]
    out = raw[:at]
    needs: dict[str, None] = {}
    folded = 0
    while at < len(lines):
        best: tuple[int, _Source, int] | None = None
        for source, there in places.get(lines[at][1], ()):
            length = _run(source, there, lines, at)
            if best is None or length > best[0]:
                best = length, source, there
        if best is not None:
            length, source, there = best
            size = sum(len(line) + len(between) for line in raw[at : at + length])
            reference = _reference(source, there, at, lines, length)
            if escaped:
                reference = json.dumps(reference, ensure_ascii=False)[1:-1]  # it stands in a string, as the lines do
            if size >= max(LEAST_RUN, 2 * len(reference)):
                out.append(reference)
                needs[source.entry.anchor] = None
                folded += length
                at += length
                continue
            # A run too short to refer to is kept whole: its inner lines start nothing longer.
            out.extend(raw[at : at + max(length, 1)])
            at += max(length, 1)
            continue
        out.append(raw[at])
        at += 1
    text = between.join([*out, *raw[end:]])
    if len(entry.block.text) - len(text) < LEAST_SAVED:
        return None
    return Fold(text, tuple(needs), folded)
