"""The handle: the short text that stands in for a page.

It is a pure function of the page and of what its call was about: no counters, times or turn numbers, nothing that could
differ in the next request. It says what was there, that an exact copy is kept and how to get it back, and keeps the
lines that answer most questions without a fault: an outline for a file; first, failing and last lines for an output.
It is data, not instruction: it states facts about itself and asks for nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from addon.mmu.outline import first, outline
from addon.wire.conversation import Act, Subject
from addon.wire.subject import numbered, split

PREFIX = "[mmu page "

KEPT = 2048
"""Handles that are remembered, for those of the same pages are weighed at every request."""

_WIDTH = 120
_PREVIEWED = 2000
_ROOM = 300
TROUBLE = re.compile(r"\b(?:error|exception|failed|failure|fatal|panic|traceback|assert\w*|warning)\b|[✗✘]|^E\s", re.I)
"""What a line that reports trouble looks like."""


def _short(line: str) -> str:
    line = line.rstrip()
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _outline(lines: list[str], path: str, room: int) -> list[str]:
    """As many of the lines that name things as there is room for, in order; what stands at the top before the rest."""
    kept: list[int] = []
    for number in first(outline([text for _, text in numbered(lines)], path)):
        room -= len(_short(lines[number])) + 1
        if room < 0:
            break
        kept.append(number)
    return [_short(lines[number]) for number in sorted(kept)]


def _highlights(lines: list[str], room: int) -> list[str]:
    trouble = [n for n, line in enumerate(lines) if TROUBLE.search(line)]
    last = [n for n, line in enumerate(lines) if line.strip()][-2:]
    first = [n for n, line in enumerate(lines) if line.strip()][:1]
    kept: set[int] = set()
    for number in [*last, *first, *trouble[-6:]]:
        cost = len(_short(lines[number])) + 1
        if number not in kept and cost <= room:
            kept.add(number)
            room -= cost
    return [_short(lines[number]) for number in sorted(kept)]


def preview(subject: Subject, text: str) -> list[str]:
    """The lines worth keeping: at most a tenth of the text and 300 characters; none for a text under 2,000 of them."""
    if len(text) < _PREVIEWED:
        return []
    room = min(_ROOM, len(text) // 10)
    lines, _ = split(text)
    if subject.act is Act.READ:
        return _outline(lines, subject.name, room) or _highlights(lines, room)
    return _highlights(lines, room)


def span(text: str) -> str:
    """Which lines a numbered file read shows (`lines 40-99`), or how many lines there are."""
    lines, _ = split(text)
    numbers = [number for number, _ in numbered(lines) if number]
    return f"lines {numbers[0]}-{numbers[-1]}" if numbers else f"{len(lines):,} lines"


@lru_cache(maxsize=KEPT)
def handle(page: str, subject: Subject, text: str, tool: str = "") -> str:
    """The text that stands in for the page `page` of `text`. `tool` is the tool that gives it back, if there is one."""
    again = "reading it again" if subject.act is Act.READ and not subject.run else "running it again"
    again = f"{tool}(page) or {again}" if tool else again
    size = len(text.encode("utf-8", "surrogatepass"))
    head = (
        f"{PREFIX}{page}: {subject.label}, {span(text)}, {size:,} bytes. "
        f"Not shown here; an exact copy is kept. {again[0].upper() if not tool else again[0]}{again[1:]} shows it.]"
    )
    return "\n".join([head, *preview(subject, text)])


def handle_tokens(text: str) -> float:
    """About how many tokens the handle of a text has, without making it."""
    return 60 + (min(_ROOM, len(text) // 10) / 4 if len(text) >= _PREVIEWED else 0)
