"""What a session sent that it need not have sent, in tokens. Pure.

Every figure but `unique` and `arrived` counts tokens as often as they were sent. The figures overlap (a stale result
may also be a repeated one), so they do not add up to anything; each is a share of `sent`.

*Stale* is told by hindsight: a result is in use up to the last time that its file is read or edited again, as the
working set has it; an output is used when it comes. What the model used without a word of it does not show, so the low
ages are doubtful and the high ones say more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import accumulate, pairwise

from addon.audit.recorded import Line, Session, Turn, transcript
from addon.mmu.tokens import Counter
from addon.mmu.view import page_table
from addon.mmu.workingset import last_access, stands_for
from addon.wire.conversation import Act, Kind, Subject
from addon.wire.subject import numbered
from addon.wire.usage import Usage

AGES = (4, 8, 16, 32)
"""Requests after its last use."""

IDLE = (300, 3600)
"""Seconds after which the usual caches have expired."""

SAME, ELSEWHERE = 4, 30
"""Characters that a line must have to count as repeated: in a result of the same thing, in any other."""

type Price = Callable[[str, Usage], float | None]
"""What a request to a model cost, in dollars; None where its prices are not known."""


@dataclass(slots=True)
class Figures:
    """Of a session, or of several, added up."""

    requests: int = 0
    sent: int = 0
    unique: int = 0
    """Tokens of what was sent, each message and head once."""
    reported: int = 0
    """Prompt tokens by the provider's own count, with what is not in the recording."""
    reported_requests: int = 0
    static: int = 0
    """System, tools and what stands before the first answer, where it had been sent before."""
    sent_declared: int = 0
    """`sent`, where the tools' definitions were recorded."""
    unused: int = 0
    """Definitions of tools that the session never called."""
    results: int = 0
    """Tool results."""
    arrived: int = 0
    """Tokens of repeated lines when they came, of both kinds."""
    repeated_same: int = 0
    """Lines of results that stood in an earlier result of the same file or command."""
    repeated_elsewhere: int = 0
    """Other lines, that stood in any other earlier result."""
    stale: dict[int, int] = field(default_factory=lambda: dict.fromkeys(AGES, 0))
    """By age: results that were sent more than so many requests after their last use."""
    timed: int = 0
    """Requests whose time is known, with one before them."""
    cold: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDLE, 0))
    """By seconds: requests that came more than so long after the one before them."""
    cold_tokens: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDLE, 0))
    """What those sent that the one before had sent too."""
    dollars: float = 0.0
    priced: int = 0
    """Requests whose cost is in `dollars`."""

    @property
    def amplification(self) -> float:
        """How often a token was sent."""
        return self.sent / self.unique if self.unique else 0.0

    def add(self, other: Figures) -> None:
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                for key, more in theirs.items():
                    mine[key] += more
            else:
                setattr(self, each.name, mine + theirs)


def measure(session: Session, counter: Counter, price: Price | None = None) -> Figures:
    """The figures of one session."""
    out = Figures()
    carried = _carried(session)
    called = _called(session)
    seen: set[bytes] = set()
    sent_turns: set[int] = set()
    for line in session.lines:
        upto = list(accumulate((turn.weight for turn in line.turns), initial=0))
        first = next((n for n, turn in enumerate(line.turns) if turn.message.role == "assistant"), len(line.turns))
        for request in line.requests:
            weight = request.head.weight
            out.requests += 1
            out.sent += weight + upto[request.turns]
            if request.head.digest in seen:
                out.static += weight
            else:
                seen.add(request.head.digest)
                out.unique += weight
            opening = line.turns[: min(first, request.turns)]
            out.static += sum(turn.weight for turn in opening if id(turn) in sent_turns)
            sent_turns |= {id(turn) for turn in opening}
            if session.declared:
                out.sent_declared += weight + upto[request.turns]
                out.unused += sum(tokens for name, tokens in request.head.tools if name not in called)
            _account(out, request.model, request.usage, price)
        _cold(out, line, upto)
        _stale(out, line, counter)
    out.unique += sum(turn.weight for turn, times in carried.values() if times)
    _results(out, session, carried, counter)
    return out


def _account(out: Figures, model: str, usage: Usage | None, price: Price | None) -> None:
    if usage is None:
        return
    out.reported += usage.prompt
    out.reported_requests += 1
    cost = price(model, usage) if price is not None else None
    if cost is not None:
        out.dollars += cost
        out.priced += 1


def _carried(session: Session) -> dict[int, tuple[Turn, int]]:
    """For each turn, by identity, in how many requests it stood; in the order of their coming."""
    out: dict[int, tuple[Turn, int]] = {}
    for line in session.lines:
        lengths = sorted(request.turns for request in line.requests)
        for number, turn in enumerate(line.turns):
            _, times = out.get(id(turn), (turn, 0))
            out[id(turn)] = turn, times + len(lengths) - bisect_right(lengths, number)
    return out


def _called(session: Session) -> set[str]:
    blocks = (b for line in session.lines for turn in line.turns for b in turn.message.blocks)
    return session.answered | {block.name for block in blocks if block.kind is Kind.CALL}


def _cold(out: Figures, line: Line, upto: list[int]) -> None:
    for before, request in pairwise(line.requests):
        if before.at is None or request.at is None:
            continue
        out.timed += 1
        for idle in IDLE:
            if request.at - before.at > idle:
                out.cold[idle] += 1
                out.cold_tokens[idle] += request.head.weight + upto[min(before.turns, request.turns)]


def _stale(out: Figures, line: Line, counter: Counter) -> None:
    table = page_table(transcript(line))
    answers = list(accumulate((turn.message.role == "assistant" for turn in line.turns), initial=0))
    clock = sorted(answers[request.turns] for request in line.requests)
    for entry, used in zip(table.entries, last_access(table, stands_for(table)), strict=True):
        tokens = counter.count(entry.block.text, entry.block.digest)
        for age in AGES:
            out.stale[age] += tokens * (len(clock) - bisect_right(clock, max(used, entry.arrival) + age))


def _results(out: Figures, session: Session, carried: dict[int, tuple[Turn, int]], counter: Counter) -> None:
    """Results, and the lines in them that had been there before."""
    about: dict[str, Subject] = {}
    known: dict[tuple[Act, str], set[str]] = {}
    anywhere: set[str] = set()
    for turn, times in carried.values():
        for block, tokens in zip(turn.message.blocks, turn.tokens, strict=True):
            if block.kind is Kind.CALL and block.about is not None:
                about[block.call] = block.about
            if block.kind is not Kind.RESULT or not times:
                continue
            out.results += tokens * times
            subject = about.get(block.call)
            same = known.setdefault((subject.act, subject.name), set()) if subject is not None else set[str]()
            lines = [line.strip() for _, line in numbered(block.text.split("\n"))]
            again = [line for line in lines if len(line) >= SAME and line in same]
            others = [line for line in lines if len(line) >= ELSEWHERE and line not in same and line in anywhere]
            same_tokens, other_tokens = (counter.count("\n".join(found)) for found in (again, others))
            out.arrived += same_tokens + other_tokens
            out.repeated_same += same_tokens * times
            out.repeated_elsewhere += other_tokens * times
            same.update(lines)
            anywhere.update(line for line in lines if len(line) >= ELSEWHERE)
