"""The excerpt: what an oversized result looks like the first time it is sent.

Of a long result most lines are never used, but which ones is not known when it arrives. So it comes in part: its head
and tail, the lines that report trouble, and the lines that name what is in it; one line in brackets stands for each run
that is left out and says which lines those are. The page itself is kept whole, so the rest is one call away.

The numbers in brackets are those that `lines` of the recall tool takes: a file's own where the client numbers its
lines, else counted from 1. So the lines shown and the ranges named are the whole text, each line once and in order, and
whoever asks for a range as it stands there gets exactly what was left out. A line without a number between numbered
ones (what a client writes around a file) could not be asked for, so it always stays.

No part of a line can be asked for, so lines are left out whole; where the first of a run is itself too long to be
shown, what stands for it says how it begins.

It is a pure function, and data, not instruction, like the handle. Whoever admits results calls it only for what just
arrived, and not for what was recalled or is read a second time, since that is wanted in full; images are no text and
never get here. What is refused here: errors, edits, reports (see `shows`), what is folded or holds references already,
what is a client's preview of something longer, what the model could not get back, and what would not become much
shorter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from addon.mmu.handle import PREFIX, TROUBLE
from addon.mmu.outline import first, outline
from addon.wire.conversation import Act, Subject
from addon.wire.previews import preview
from addon.wire.shell import plain_read
from addon.wire.subject import numbered, split

LEAST_SAVED = 1600
"""Characters (about 400 tokens) that leaving lines out must save, and at least a third of the text."""

LONGEST_LINE = 1000
"""Characters of a line above which it is left out wherever it stands."""

BEGINNING = 300
"""Characters shown of such a line."""

RECALLABLE = 100_000
"""Characters of the longest line that a recall gives in full; a longer one stays, for it could not be had again."""

LEAST_GAP = 2
"""A run of lines is left out only if it is so many times as long as what stands for it."""

STANDS_FOR = 70
"""Characters of what stands for a run, about: what it costs to show a line in the midst of others that are left out."""


class Shows(StrEnum):
    """What a result shows, as far as it may be shown in part."""

    FILE = "file"
    OUTPUT = "output"


_OUTPUTS = frozenset({
    "bash", "container.exec", "exec", "exec_command", "execute_command", "glob", "grep", "grep_search", "list",
    "list_dir", "list_directory", "list_files", "local_shell", "ls", "rg", "run_command", "run_commands",
    "run_shell_command", "search", "search_file_content", "search_files", "shell", "shell_command", "terminal",
    "write_stdin",
})  # fmt: skip
"""Shells, searches and listings."""

_THEN = re.compile(r"\s*(?:&&|;|\n)\s*")


def shows(subject: Subject) -> Shows | None:
    """What the result of a call shows; None where it always comes whole: edits, and what was written to be read (a
    sub-agent's report, a web page) or is not known here. A shell that prints several files shows files."""
    if subject.act is Act.READ:
        return Shows.FILE
    tool, _, command = subject.name.partition(" ")
    if subject.act is Act.EDIT or tool not in _OUTPUTS:
        return None
    files = [plain_read(part, "") for part in _THEN.split(command)]
    return Shows.FILE if all(files) else Shows.OUTPUT


@dataclass(frozen=True, slots=True)
class Layout:
    """How the room is shared out, in parts of one; what a part does not use goes to the head."""

    head: float
    tail: float
    trouble: float
    outline: float


LAYOUTS: Mapping[Shows, Layout] = {
    Shows.FILE: Layout(head=0.4, tail=0.4, trouble=0.0, outline=0.2),
    Shows.OUTPUT: Layout(head=0.45, tail=0.45, trouble=0.1, outline=0.0),
}
"""Measured on recorded sessions (`benchmarks/excerpts.py`). Of a file, edits go on to quote the tail more and other
calls the head, and no layout holds many more of the quoted lines than it shows of the text. Outputs are quoted so
seldom that no layout is clearly the best. What trouble and outline take away is less than these differ by, and they
tell the model what to ask for."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text with lines left out. `gaps` are the runs that were, as indexes of lines of `split(text)`, end excluded."""

    text: str
    gaps: tuple[tuple[int, int], ...]

    @property
    def lines(self) -> int:
        """How many lines are left out."""
        return sum(end - start for start, end in self.gaps)


def excerpt(
    page: str,
    subject: Subject,
    text: str,
    *,
    room: int,
    tool: str = "",
    error: bool = False,
    layout: Layout | None = None,
) -> Excerpt | None:
    """What of the text `text` of the page `page` is shown in about `room` characters; None where it comes whole.

    `tool` is the tool that gives the page back, "" where there is none: then only a file that the client reads by
    lines, and numbers them, is shown in part. `layout` is chosen by the subject where it is not given.
    """
    kind = shows(subject)
    if error or kind is None or not _pays(len(text), room) or PREFIX in text or preview(text) is not None:
        return None
    found = _Text(text)
    if not tool and (subject.act is not Act.READ or subject.run or not found.has_numbers):
        return None
    shown = _shown(found, subject, room, layout or LAYOUTS[kind])
    again = f"{tool}(page, lines) shows it" if tool else "reading those lines again shows them"
    out: list[str] = []
    gaps: list[tuple[int, int]] = []
    at = 0
    for start, end in _gaps(len(found.raw), shown):
        marker = _marker(found, page, start, end)
        if found.size(start, end) < LEAST_GAP * len(marker):
            continue
        told = "" if gaps else f"; an exact copy is kept, {again}"
        out += [*found.raw[at:start], found.spelled(f"{marker}{told}]")]
        gaps.append((start, end))
        at = end
    made = found.between.join([*out, *found.raw[at:]])
    return Excerpt(made, tuple(gaps)) if _pays(len(text), len(made)) else None


def _pays(whole: int, part: int) -> bool:
    return whole - part >= max(LEAST_SAVED, whole / 3)


class _Text:
    """A text by lines: as they stand in it, what they are called, and which of them may be left out."""

    def __init__(self, text: str) -> None:
        self.raw, self.between = split(text)
        own = numbered(self.raw)
        self.content = [line for _, line in own]
        self.has_numbers = any(number for number, _ in own)
        self.numbers = [number for number, _ in own] if self.has_numbers else list(range(1, len(own) + 1))
        self.escaped = self.between != "\n"

    def fixed(self, index: int) -> bool:
        """Whether a line has to stay: it could not be asked for, or holds a piece of the JSON around the text."""
        if not self.numbers[index]:
            return True
        line = self.raw[index]
        if len(line) > RECALLABLE:
            return True
        # A line break that is spelled out stands in a string, so a quotation mark behind it ends or begins one.
        return self.escaped and ("\n" in line or ('"' in line and _QUOTE.search(line) is not None))

    def size(self, start: int, end: int) -> int:
        """Characters of the lines, with what stands between them and the next."""
        return sum(map(len, self.raw[start:end])) + len(self.between) * (end - start)

    def spelled(self, line: str) -> str:
        """A line of ours as it must be written among the others."""
        return json.dumps(line, ensure_ascii=False)[1:-1] if self.escaped else line


_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')


def _shown(text: _Text, subject: Subject, room: int, layout: Layout) -> set[int]:
    """Indexes of the lines that are shown, within `room` characters."""
    fixed = {n for n in range(len(text.raw)) if text.fixed(n)}
    free = [n for n in range(len(text.raw)) if n not in fixed and len(text.raw[n]) <= LONGEST_LINE]
    shown = set(fixed)
    room -= sum(len(text.raw[n]) for n in shown)
    named = first(outline(text.content, subject.name if subject.act is Act.READ else "")) if layout.outline else []
    trouble = _trouble(text) if layout.trouble else []
    left = float(room)
    for wanted, part, extra in (
        (reversed(free), layout.tail, 0),
        (free, layout.head, 0),
        (trouble, layout.trouble, STANDS_FOR),
        (named, layout.outline, STANDS_FOR),
    ):
        left -= _take(shown, text, wanted, room * part, extra)
    _take(shown, text, free, left, 0)
    return shown


def _take(shown: set[int], text: _Text, wanted: Iterable[int], room: float, extra: int) -> int:
    """Show wanted lines until the room is used; returns how much was. `extra` is what each costs beside itself."""
    used = 0
    for index in wanted:
        if index in shown or not 0 <= index < len(text.raw) or len(text.raw[index]) > LONGEST_LINE:
            continue
        cost = len(text.raw[index]) + len(text.between) + extra
        if used + cost > room:
            break
        shown.add(index)
        used += cost
    return used


def _trouble(text: _Text) -> list[int]:
    """The lines that report trouble, each with the one before and after it: the last one first, then from the start."""
    found = [n for n, line in enumerate(text.content) if TROUBLE.search(line[:LONGEST_LINE])]
    return [n for at in [*found[-1:], *found[:-1]] for n in (at, at - 1, at + 1)]


def _gaps(lines: int, shown: set[int]) -> Iterator[tuple[int, int]]:
    """The runs of lines that are not shown, end excluded."""
    start = 0
    for n in [*sorted(shown), lines]:
        if n > start:
            yield start, n
        start = n + 1


def _marker(text: _Text, page: str, start: int, end: int) -> str:
    """What stands for a run of lines, without its end."""
    lines = text.raw[start:end]
    size = sum(len(line.encode("utf-8", "surrogatepass")) for line in lines) + end - start - 1
    first, last = text.numbers[start], text.numbers[end - 1]
    where = f"lines {first}-{last}" if last > first else f"line {first}"
    begins = ""
    if len(lines[0]) > LONGEST_LINE:
        begins = f", which begin{'s' * (first == last)} `{text.content[start][:BEGINNING]}`"
    return f"{PREFIX}{page}: {where} ({size:,} bytes) left out{begins}"
