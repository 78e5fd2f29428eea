"""What the recorded agent goes on to need of the results it was given: the references, by the reply that makes them.

Three signs can be read off a recording:

- `edit`: the longest line (16 characters or more) of what an edit quotes stands in a result;
- `quote`: a line of that length in any argument of a tool call stands in one result only, and nowhere else;
- `reread`: the call reads a file again and brings back at least half of the lines of an earlier result of that file.

What an agent remembers without a sign is not seen, so this is a lower bound of what is needed. A result is named by
its call id.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from addon.wire.conversation import Act, Subject
from addon.wire.subject import numbered, same, split, subject
from benchmarks.compare import result_text, strings
from benchmarks.quotes import SHORTEST, quoted_lines
from benchmarks.rebuild import Session, blocks_of
from benchmarks.traces import Block


@dataclass(frozen=True, slots=True)
class Demand:
    """The reply to request `turn` needs `lines`, which stand in the results `pages`, oldest first."""

    turn: int
    kind: str
    pages: tuple[str, ...]
    lines: tuple[str, ...]

    def met(self, text: str) -> bool:
        """Whether a text shows it: the one line, or at least half of what is read again."""
        return 2 * sum(line in text for line in self.lines) >= len(self.lines)


def demands(session: Session) -> dict[int, list[Demand]]:
    """The references of every reply, by the index of its request."""
    found: dict[int, list[Demand]] = {}
    known = _Known()
    segment, upto = -1, 0
    before: int | None = None
    for turn in session.turns:
        if turn.segment != segment:
            known, segment, upto, before = _Known(), turn.segment, 0, None
        for message in session.segments[segment][upto : turn.upto]:
            again = known.add(blocks_of(message))
            if before is not None:
                found[before] += [Demand(before, "reread", (page,), lines) for page, lines in again]
        upto, before = turn.upto, turn.index
        found[turn.index] = list(known.wanted(turn.index, session.reply(turn)))
    return found


@dataclass(slots=True)
class _Known:
    """A segment's transcript as it grows: results apart from everything else."""

    pages: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    results: str = ""
    others: str = ""
    calls: dict[str, Subject] = field(default_factory=dict)
    reads: list[tuple[str, Subject, frozenset[str]]] = field(default_factory=list)

    def add(self, blocks: Iterable[Block]) -> list[tuple[str, tuple[str, ...]]]:
        """Takes in a message; returns the earlier results that its results bring back, with the lines they share."""
        again: dict[str, tuple[str, ...]] = {}
        for block in blocks:
            if block["type"] != "tool_result":
                self.others = "\n".join([self.others, *strings(block)])
                if block["type"] == "tool_use":
                    self.calls[block["id"]] = subject(block["name"], block["input"])
                continue
            page, text = block["tool_use_id"], result_text(block)
            self.pages.append(page)
            self.starts.append(len(self.results))
            self.results += text + "\n"
            about = self.calls.get(page)
            if about is None or about.act is not Act.READ or block.get("is_error"):
                continue
            lines = content_lines(text)
            for earlier, known, old in self.reads:
                back = lines & old
                if back and 2 * len(back) >= len(old) and same(known, about):
                    again[earlier] = tuple(sorted(back))
            self.reads.append((page, about, lines))
        return list(again.items())

    def wanted(self, turn: int, reply: Sequence[Block]) -> Iterator[Demand]:
        edits = dict.fromkeys(quoted_lines(reply))
        for line in edits:
            if line in self.results and line not in self.others:
                yield Demand(turn, "edit", tuple(self._holders(line)), (line,))
        for line in _given(reply):
            if line not in edits and line in self.results and line not in self.others:
                holders = self._holders(line)
                page = next(holders)
                if next(holders, None) is None:
                    yield Demand(turn, "quote", (page,), (line,))

    def _holders(self, line: str) -> Iterator[str]:
        at = self.results.find(line)
        while at >= 0:
            here = bisect_right(self.starts, at) - 1
            yield self.pages[here]
            if here + 1 == len(self.starts):
                return
            at = self.results.find(line, self.starts[here + 1])


def content_lines(text: str) -> frozenset[str]:
    """The lines that say something, without the numbers of a read tool."""
    lines = (line.strip() for _, line in numbered(split(text)[0]))
    return frozenset(line for line in lines if len(line) > 3)


def _given(reply: Sequence[Block]) -> dict[str, None]:
    """The lines of a reply's tool calls that are long enough to tell where they come from."""
    found: dict[str, None] = {}
    for block in reply:
        if block["type"] == "tool_use":
            for text in strings(block["input"]):
                for line in text.splitlines():
                    if len(line.strip()) >= SHORTEST:
                        found[line.strip()] = None
    return found


def by_page(found: Mapping[int, Sequence[Demand]]) -> dict[str, list[Demand]]:
    """The references to each result in order, each to the newest result that shows it."""
    out: dict[str, list[Demand]] = {}
    for turn in sorted(found):
        for demand in found[turn]:
            out.setdefault(demand.pages[-1], []).append(demand)
    return out
