"""Access bits: which results the model used, read off what it said later.

A processor sets a bit in the page table when a page is touched, and the clock hand reads it. A model touches a page
silently, by attending to it; but what it uses it mostly repeats. It edits by quoting lines, it runs what a listing
named, it explains a function that it has read. So a result was used when

- a line of it stands in what the model later gave to a tool, or
- a name that stands in it alone, of all results so far, stands in what the model later gave to a tool or said.

A line is told by its text, whatever number a read tool put before it and whatever mark a patch does. Where several
results hold it, the newest that came before the call was used: it is the one an edit must agree with. A name has a
shape that prose lacks (`max_retries`, `setUp`, `conf.py`, `0x5f3759`). Copies of one file or one command are one place,
and the newest has the name.

Bits are a function of the transcript and the same after a restart. Without prompt caching they are read at every
request, so each text is taken apart once, and only what was said is looked up in what was shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from addon.mmu.view import Table
from addon.wire.conversation import Block, Conversation, Kind
from addon.wire.subject import numbered, split

LINE = 16
"""Characters that a line must have to tell where it comes from."""

LONGEST = 65_536
"""Characters of a text that are looked at."""

KEPT = 2048
"""Texts whose parts are remembered: those of a few long conversations."""

_WORD = re.compile(r"\w[\w.]{4,}\w")
_SHAPE = re.compile(r"[_.\d]|[a-z][A-Z]")
_PATCH = ("+", "-")


@dataclass(frozen=True, slots=True)
class Parts:
    """What of a text tells where it comes from."""

    lines: frozenset[str]
    """Stripped, of at least LINE characters."""
    names: frozenset[str]
    numbers: tuple[int, int] | None = None
    """The first and the last line number, where a read tool put them before the lines."""


def _parts(lines: set[str], text: str, numbers: tuple[int, int] | None = None) -> Parts:
    names = frozenset(word for word in set(_WORD.findall(text)) if _SHAPE.search(word))
    return Parts(frozenset(line for line in lines if len(line) >= LINE), names, numbers)


@lru_cache(maxsize=KEPT)
def shown(text: str) -> Parts:
    """What a result holds."""
    text = text[:LONGEST]
    lines = numbered(split(text)[0])
    numbers = [number for number, _ in lines if number]
    ends = (numbers[0], numbers[-1]) if numbers else None
    return _parts({line.strip() for _, line in lines}, text, ends)


@lru_cache(maxsize=KEPT)
def _said(text: str) -> Parts:
    """What may have been taken from a result."""
    text = text[:LONGEST]
    lines = text.split("\n")
    unmarked = (line[1:] for line in lines if line.startswith(_PATCH))
    return _parts({line.strip() for line in (*lines, *unmarked)}, text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


_NONE: frozenset[str] = frozenset()


def _taken(block: Block) -> Parts:
    if block.kind is Kind.CALL:
        return _said("\n".join(_strings(block.arguments)))
    return Parts(_NONE, _said(block.text).names)


def last_quoted(conversation: Conversation, table: Table) -> list[int]:
    """For each entry of the table, the last request that quoted it, -1 for none.

    As in `table.edits`, that is the request which brought the model's words.
    """
    said = [
        [_taken(block) for block in message.blocks] if message.role == "assistant" else []
        for message in conversation.messages
    ]
    lines = _NONE.union(*(parts.lines for each in said for parts in each))
    names = _NONE.union(*(parts.names for each in said for parts in each))

    out = [-1] * len(table.entries)
    holder: dict[str, int] = {}
    bearer: dict[str, int] = {}
    common: set[str] = set()
    came = request = 0
    for number, message in enumerate(conversation.messages):
        while came < len(table.entries) and table.entries[came].message < number:
            entry = table.entries[came]
            found = shown(entry.block.text)
            holder.update(dict.fromkeys(found.lines & lines, came))
            for name in found.names & names:
                if table.entries[bearer.get(name, came)].subject.name != entry.subject.name:
                    common.add(name)
                bearer[name] = came
            came += 1
        request += message.role == "assistant"
        for parts in said[number]:
            for line in parts.lines & holder.keys():
                out[holder[line]] = request
            for name in (parts.names & bearer.keys()) - common:
                out[bearer[name]] = request
    return out
