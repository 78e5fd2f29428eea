"""Excerpts: what a recorded agent used of its oversized results, and how much of that each layout would have shown.

A *reference* is a line (16 characters or more) or a name (an identifier, a path) that the agent writes down later, in
an edit's old text, any other tool input or its own words, while it stands in the context in oversized results only; the
newest of these is the page referred to. What the agent has written once is its own from then on. Silent uses leave no
trace, so the counts are a lower bound of what is needed, and the price of showing a page in part one too.

The money: lines left out save their cache write, and the rent on every later request until the cache expires or the
segment ends (an old page would be evicted then anyway). A page of which a missing line is referred to is asked for
once: one more inference pass (the context read, a short call), what was left out written after all, and rented from
then on. `asked` is the share of pages of which that is so, `used` the share of those to which the agent ever referred,
by line or name; at `even` nothing would be won if so many were asked for at once, and `worst` is what would be left if
all those that were ever referred to were.

    python -m benchmarks.excerpts [--traces DIR]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from addon.mmu.excerpt import LAYOUTS as CHOSEN
from addon.mmu.excerpt import Layout, Shows, excerpt, shows
from addon.mmu.page import NAME
from addon.wire.conversation import Subject, text_digest
from addon.wire.subject import numbered, split, subject
from benchmarks.compare import strings
from benchmarks.quotes import CALL_TOKENS, SHORTEST, Rates, _quoted
from benchmarks.rebuild import Session, Turn, blocks_of, rebuild
from benchmarks.traces import Block, TracesMissing, Usage, load

SONNET = Rates(read=0.3e-6, write=3.75e-6, output=15e-6)
COLD = {"5m": 360.0, "1h": 3960.0}
"""Seconds after which a cache is taken to have expired."""

OVERSIZED = {Shows.FILE: 4000, Shows.OUTPUT: 1500}
ROOMS = (600, 1000, 2000)
THRESHOLDS = {Shows.FILE: (2000, 4000, 6000, 8000), Shows.OUTPUT: (1000, 1500, 2000, 3000, 4000)}

COLUMNS = ("over", "room", "parts", "asked", "used", "even", "saved", "paid", "net", "worst")

LAYOUTS = {
    "head": Layout(1, 0, 0, 0),
    "tail": Layout(0, 1, 0, 0),
    "outline": Layout(0, 0, 0, 1),
    "head 3, tail 1": Layout(0.75, 0.25, 0, 0),
    "head, tail": Layout(0.5, 0.5, 0, 0),
    "head 1, tail 3": Layout(0.25, 0.75, 0, 0),
    "head, outline": Layout(0.6, 0, 0, 0.4),
    "head, tail, outline": Layout(0.4, 0.4, 0, 0.2),
    "head, tail, trouble": Layout(0.45, 0.45, 0.1, 0),
    "more trouble": Layout(0.3, 0.3, 0.4, 0),
    "all four": Layout(0.4, 0.2, 0.2, 0.2),
}

_NAME = re.compile(r"[\w.@-]+(?:/[\w.@-]+)+|\b(?=\w*(?:_\w|[a-z][A-Z]|\d))[A-Za-z_]\w{5,}")


@dataclass(slots=True)
class Seen:
    """An oversized result and what was used of it later: (turn, is it an edit's, line) and (turn, name)."""

    kind: Shows
    about: Subject
    text: str
    page: str
    turn: int
    session: Session
    later: list[Turn]
    """The requests that had it, without the one that brought it."""
    lines: list[tuple[int, bool, str]] = field(default_factory=list)
    words: list[tuple[int, str]] = field(default_factory=list)

    @property
    def tokens(self) -> float:
        return len(self.text.encode("utf-8", "replace")) / self.session.ratio.bytes_per_token

    def warm(self) -> Iterator[Turn]:
        """The requests that read it from the cache."""
        at = self.session.turns[self.turn].at
        for turn in self.later:
            if turn.at - at > COLD[turn.ttl]:
                return
            at = turn.at
            yield turn


@dataclass(slots=True)
class _Context:
    """What stands in the context whole, and which oversized result holds what else does."""

    whole: set[str] = field(default_factory=set)
    held: dict[str, Seen] = field(default_factory=dict)

    def keep(self, pieces: Iterable[str]) -> None:
        self.whole.update(pieces)

    def hold(self, pieces: Iterable[str], by: Seen) -> None:
        self.held.update(dict.fromkeys(pieces, by))

    def used(self, pieces: Iterable[str]) -> Iterator[tuple[str, Seen]]:
        for piece in dict.fromkeys(pieces):
            if piece not in self.whole and piece in self.held:
                yield piece, self.held[piece]


def lines_in(text: str) -> list[str]:
    """The lines that are long enough to be told from others, without numbers and indentation."""
    return [line.strip() for _, line in numbered(split(text)[0]) if len(line.strip()) >= SHORTEST]


def words_in(text: str) -> list[str]:
    """The identifiers, as opposed to words, and the paths."""
    return _NAME.findall(text)


def oversized(session: Session, least: dict[Shows, int]) -> list[Seen]:
    """The results over `least` tokens that may be shown in part, with their references."""
    out: list[Seen] = []
    turns: dict[int, list[Turn]] = defaultdict(list)
    for turn in session.turns:
        turns[turn.segment].append(turn)
    for number, segment in enumerate(session.segments):
        lines, words = _Context(), _Context()
        about: dict[str, Subject] = {}
        for at, message in enumerate(segment):
            if message["role"] == "assistant":
                asking = next((t for t in turns[number] if t.upto == at), None)
                if asking is not None:
                    _refer(blocks_of(message), asking.index, lines, words)
            for block in blocks_of(message):
                if block["type"] == "tool_use":
                    about[block["id"]] = subject(block["name"], block["input"])
                    texts = list(strings(block["input"]))
                else:
                    texts = [block.get("text") or block.get("content") or ""]
                seen = _oversized(block, about, session, turns[number], at, least) if "content" in block else None
                for text in texts:
                    if seen is None:
                        lines.keep(lines_in(text))
                        words.keep(words_in(text))
                    else:
                        out.append(seen)
                        lines.hold(lines_in(text), seen)
                        words.hold(words_in(text), seen)
    return out


def _oversized(
    block: Block, about: dict[str, Subject], session: Session, turns: list[Turn], at: int, least: dict[Shows, int]
) -> Seen | None:
    what = about[block["tool_use_id"]]
    kind = shows(what)
    if kind is None:
        return None
    text: str = block["content"]
    page = text_digest(text.encode("utf-8", "replace").decode()).hex()[:24]
    having = [turn for turn in turns if turn.upto > at]
    seen = Seen(kind, what, text, page, having[0].index if having else -1, session, having[1:])
    small = seen.tokens <= least[kind]
    # A text that could never be shown in part stands whole.
    if small or not having or excerpt(page, what, text, room=1, tool=NAME, error=bool(block.get("is_error"))) is None:
        return None
    return seen


def _refer(reply: list[Block], turn: int, lines: _Context, words: _Context) -> None:
    for block in reply:
        if block["type"] == "tool_use":
            quoted = [line for text in _quoted(block["input"]) for line in lines_in(text)]
            for line, seen in lines.used(quoted):
                seen.lines.append((turn, True, line))
            texts = list(strings(block["input"]))
            for line, seen in lines.used(line for text in texts for line in lines_in(text) if line not in quoted):
                seen.lines.append((turn, False, line))
        else:
            texts = [block.get("text", "")]
        for word, seen in words.used(word for text in texts for word in words_in(text)):
            seen.words.append((turn, word))


@dataclass(slots=True)
class Tally:
    """What a layout showed of some pages."""

    tokens: float = 0
    shown: float = 0
    pages: int = 0
    parts: int = 0
    """Pages that were shown in part."""
    edits: list[int] = field(default_factory=lambda: [0, 0])
    lines: list[int] = field(default_factory=lambda: [0, 0])
    words: list[int] = field(default_factory=lambda: [0, 0])
    """Of each the references, and those to what is shown."""
    saved: float = 0
    paid: float = 0
    asked: int = 0
    used: int = 0
    at_once: float = 0
    """Dollars that the parts would cost if each were asked for at once."""
    worst: float = 0

    def add(self, seen: Seen, room: float, layout: Layout) -> None:
        ratio = seen.session.ratio.bytes_per_token
        made = excerpt(seen.page, seen.about, seen.text, room=round(room * ratio), tool=NAME, layout=layout)
        text = made.text if made is not None else seen.text
        raw, _ = split(seen.text)
        gone = {n for start, end in made.gaps for n in range(start, end)} if made is not None else set()
        kept = [line for n, (_, line) in enumerate(numbered(raw)) if n not in gone]
        lines, words = {line.strip() for line in kept}, set(words_in("\n".join(kept)))
        size = len(text.encode("utf-8", "replace")) / ratio
        self.pages += 1
        self.parts += made is not None
        self.tokens += seen.tokens
        self.shown += size
        missing: list[int] = []
        for turn, is_edit, line in seen.lines:
            for count in (self.edits, self.lines) if is_edit else (self.lines,):
                count[0] += 1
                count[1] += line in lines
            if line not in lines:
                missing.append(turn)
        for _, word in seen.words:
            self.words[0] += 1
            self.words[1] += word in words
        if made is not None:
            self._price(seen, seen.tokens - size, missing)

    def _price(self, seen: Seen, left_out: float, missing: list[int]) -> None:
        rented = {turn.index for turn in seen.warm()}
        saved = left_out * (SONNET.write + SONNET.read * len(rented))
        at_once = _context(seen, seen.turn) * SONNET.read + CALL_TOKENS * SONNET.output
        used = bool(seen.lines or seen.words)
        self.saved += saved
        self.at_once += at_once
        self.used += used
        self.worst += -at_once if used else saved
        if missing:
            first = min(missing)
            back = SONNET.read * sum(index > first for index in rented)
            call = _context(seen, first) * SONNET.read + CALL_TOKENS * SONNET.output
            self.paid += call + left_out * (SONNET.write + back)
            self.asked += 1


def _context(seen: Seen, index: int) -> float:
    turn = seen.session.turns[index]
    if turn.usage is not None and turn.usage.total:
        return turn.usage.total
    messages = seen.session.segments[turn.segment][: turn.upto]
    return sum(len(str(message)) for message in messages) / seen.session.ratio.bytes_per_token


def _share(count: list[int]) -> str:
    return f"{count[1] / count[0]:6.0%}" if count[0] else "     -"


def _layouts(pages: list[Seen], kind: Shows) -> Iterator[str]:
    mine = [p for p in pages if p.kind == kind and p.tokens > OVERSIZED[kind]]
    tokens = sum(p.tokens for p in mine)
    yield f"{kind}: {len(mine)} results over {OVERSIZED[kind]:,} tokens, {tokens:,.0f} tokens in all"
    yield f"  {'layout':22}{'room':>6}{'tokens':>8}{'edits':>7}{'lines':>7}{'names':>7}{'asked for':>11}"
    total = Tally()
    for room in ROOMS:
        for name, layout in LAYOUTS.items():
            total = Tally()
            for page in mine:
                total.add(page, room, layout)
            yield (
                f"  {name:22}{room:6,}{total.shown / total.tokens:8.0%} {_share(total.edits)} {_share(total.lines)}"
                f" {_share(total.words)}{total.asked:6} of {total.parts}"
            )
    yield f"  references: {total.edits[0]} lines in edits, {total.lines[0]} lines in all, {total.words[0]} names"


def _money(pages: list[Seen], kind: Shows, bill: float) -> Iterator[str]:
    layout = CHOSEN[kind]
    shares = f"{layout.head:g}/{layout.tail:g}/{layout.trouble:g}/{layout.outline:g}"
    yield f"{kind}, in dollars of {bill:.2f} for all input; head, tail, trouble, outline {shares}"
    yield "  " + "".join(f"{word:>8}" for word in COLUMNS)
    for least in THRESHOLDS[kind]:
        for room in ROOMS:
            if room >= least:
                continue
            total = Tally()
            for page in (p for p in pages if p.kind == kind and p.tokens > least):
                total.add(page, room, layout)
            if not total.parts:
                continue
            even = total.saved / (total.saved + total.at_once)
            yield (
                f"  {least:8,}{room:8,}{total.parts:8}{total.asked / total.parts:8.0%}{total.used / total.parts:8.0%}"
                f"{even:8.0%}{total.saved:8.2f}{total.paid:8.2f}{total.saved - total.paid:8.2f}{total.worst:8.2f}"
            )


def _billed(usage: Usage) -> float:
    """Dollars for the input of a request."""
    return usage.cache_read * SONNET.read + (usage.total - usage.cache_read) * SONNET.write


def main(arguments: list[str] | None = None) -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", type=Path, help="folder of recorded sessions")
    given = parser.parse_args(arguments)
    try:
        sessions = [rebuild(trace) for trace in load(given.traces)]
    except TracesMissing as problem:
        print(f"skipped: {problem}", file=sys.stderr)
        return 0
    smallest = {kind: min(least) for kind, least in THRESHOLDS.items()}
    pages = [page for session in sessions for page in oversized(session, smallest)]
    bill = sum(_billed(turn.usage) for session in sessions for turn in session.turns if turn.usage)
    for kind in OVERSIZED:
        print(*_layouts(pages, kind), "", *_money(pages, kind, bill), "", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
