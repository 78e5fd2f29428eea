"""In which forms a result can stand in a request: whole, as it is shown at first, and as a handle.

What the first form may be is decided with the future known. A result arrives whole, but for two cases, which are the
planner's own:

- lines that an earlier result shows are folded (`addon.mmu.admit`); that one must then be there as long as this one is
  needed;
- of a result so long that leaving lines out saves `LEAST_SAVED` characters and a third of it, only the lines that the
  agent will ever refer to are shown, and none where there are none.

Errors always stand whole. A result's *needs* are the requests whose replies refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from addon.mmu.admit import fold
from addon.mmu.evict import Policy
from addon.mmu.handle import handle
from addon.mmu.view import Entry, page_table
from addon.wire.anthropic import parse
from benchmarks.lab.recording import Recording
from benchmarks.rebuild import blocks_of, encode
from benchmarks.traces import Block
from tests.upstream.prompt import Position, as_blocks, message_positions

LEAST_SAVED = 1600


@dataclass(slots=True)
class Item:
    """A result that can leave. `at` is its place in the line, `turns` the first and last request that send it (end
    excluded); sizes are tokens. `needs` are in order."""

    call: str
    at: int
    turns: tuple[int, int]
    whole: int
    first: int
    small: int
    shown: Position
    left: Position
    needs: list[int] = field(default_factory=list)


def items(recording: Recording, policy: Policy) -> list[list[Item]]:
    """The results of every segment, in order."""
    found: list[list[Item]] = []
    turns = recording.turns
    start = 0
    for index in range(1, len(turns) + 1):
        if index == len(turns) or turns[index].segment != turns[start].segment:
            found.append(list(_Segment(recording, policy, start, index).items()))
            start = index
    return found


class _Segment:
    """The requests from `start` to `end`: one context between two compactions."""

    def __init__(self, recording: Recording, policy: Policy, start: int, end: int) -> None:
        self.recording, self.policy, self.start, self.end = recording, policy, start, end
        last = replace(recording.turns[end - 1], cleared=frozenset())
        self.body = recording.session.body(last)
        table = page_table(parse(encode(self.body)))
        self.entries = {entry.block.call: entry for entry in table.entries}
        self.demands = [d for turn in range(start, end) for d in recording.demands[recording.turns[turn].index]]

    def items(self) -> Iterator[Item]:
        texts, sources = self._first_texts()
        needs = self._needs(texts)
        for call in reversed(list(sources)):  # a fold before what it refers to, which may itself be one
            for source in sources[call]:
                needs.setdefault(source, set()).update({self._arrival(call), *needs.get(call, ())})
        ratio = self.recording.session.ratio.bytes_per_token
        for call, (message, offset) in self._places().items():
            entry = self.entries.get(call)
            if entry is None or entry.block.error:
                continue
            turns = self._sent(call, message, offset)
            at = self._at(message, offset)
            whole = self.recording.laid[turns[0]].parts[message + 2][1][offset].tokens(ratio)
            shown = self._position(message, offset, texts[call])
            left = self._position(message, offset, handle(entry.page, entry.subject, entry.block.text))
            sizes = whole, shown.tokens(ratio), left.tokens(ratio)
            if sizes[0] > sizes[2] or sizes[0] > sizes[1]:
                yield Item(call, at, turns, *sizes, shown, left, sorted(needs.get(call, ())))

    def _first_texts(self) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """What each result shows at first, and which results a fold refers to."""
        wanted: dict[str, dict[str, None]] = {}
        for demand in self.demands:
            wanted.setdefault(demand.pages[-1], {}).update(dict.fromkeys(demand.lines))
        texts: dict[str, str] = {}
        sources: dict[str, tuple[str, ...]] = {}
        resident: list[Entry] = []
        for call, entry in self.entries.items():
            text = entry.block.text
            options = [text]
            if self.policy.excerpts and not entry.block.error:
                part = "\n".join([handle(entry.page, entry.subject, text), *wanted.get(call, ())])
                if len(text) - len(part) >= max(LEAST_SAVED, len(text) / 3):
                    options.append(part)
            folded = fold(entry, resident) if self.policy.folds else None
            if folded is not None:
                options.append(folded.text)
            texts[call] = min(options, key=len)
            if folded is not None and texts[call] == folded.text:
                sources[call] = tuple(need.partition("#")[0] for need in folded.needs)
            elif texts[call] == text:
                resident.append(entry)
        return texts, sources

    def _needs(self, texts: Mapping[str, str]) -> dict[str, set[int]]:
        """Each reference goes to the newest result that shows it at first, or else to the newest that holds it."""
        needs: dict[str, set[int]] = {}
        for demand in self.demands:
            shows = [page for page in demand.pages if demand.met(texts.get(page, ""))]
            needs.setdefault((shows or demand.pages)[-1], set()).add(demand.turn)
        return needs

    def _places(self) -> dict[str, tuple[int, int]]:
        """Message and block of every result."""
        return {
            block["tool_use_id"]: (number, offset)
            for number, message in enumerate(self.body["messages"])
            for offset, block in enumerate(blocks_of(message))
            if block["type"] == "tool_result"
        }

    def _arrival(self, call: str) -> int:
        return self._sent(call, *self._places()[call])[0]

    def _sent(self, call: str, message: int, offset: int) -> tuple[int, int]:
        """The requests that send a result as it was, from the first to where the client cleared it."""
        turns = self.recording.turns
        first = next(t for t in range(self.start, self.end) if turns[t].upto > message)
        last = next((t for t in range(first, self.end) if call in turns[t].cleared), self.end)
        return first, last

    def _at(self, message: int, offset: int) -> int:
        parts = self.recording.laid[self.end - 1].parts
        return sum(len(positions) for _, positions in parts[: message + 2]) + offset

    def _position(self, message: int, offset: int, text: str) -> Position:
        said = self.body["messages"][message]
        blocks: Sequence[Block] = as_blocks(said["content"])
        changed = [*blocks[:offset], {**blocks[offset], "content": text}, *blocks[offset + 1 :]]
        return message_positions(message, said["role"], changed)[offset]
